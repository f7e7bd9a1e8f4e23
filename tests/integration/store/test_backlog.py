"""When too many jobs wait: who is refused first, what is never refused, and what counting costs."""

import pytest
from sqlalchemy import event, insert, text

from tests.builders import a_question, a_reading, a_request, an_order
from worker.errors import EngineStopped, QueueFull, StoreUnavailable
from worker.jobs.job import Status
from worker.jobs.order import Channel, Verb
from worker.jobs.request import Priority
from worker.store.backlog import Backlog
from worker.store.backlog import jobs as table
from worker.store.intake import Arrival, Intake, Taken
from worker.store.job_rows import job_row
from worker.store.jobs import Jobs
from worker.store.sealing import Seal
from worker.store.session import Database, clock
from worker.store.submitting import Submissions


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def limited(database, limit, now=None):
    jobs = Jobs(database, queue_limit=limit)
    jobs._submissions = Submissions(database, Backlog(limit, now=now or Clock()))
    return jobs


def submit(jobs, **fields):
    return jobs.submit(a_request(**fields), submitter="lab").job


def fill(database, count):
    """Jobs that wait, written by somebody else."""
    with database.write() as connection:
        times = {"created_at": clock(), "not_before": clock()}
        for _ in range(count):
            connection.execute(insert(table).values(job_row(a_request(), submitter="other") | times))


def refusal(jobs, **fields):
    with pytest.raises(QueueFull) as caught:
        submit(jobs, **fields)
    return caught.value


def test_routine_is_refused_first_then_urgent_and_stat_last(database):
    jobs = limited(database, 20)
    accepted = {}
    for priority in ("routine", "urgent", "stat"):
        accepted[priority] = 0
        while True:
            try:
                submit(jobs, priority=priority)
            except QueueFull:
                break
            accepted[priority] += 1
    assert accepted == {"routine": 16, "urgent": 3, "stat": 1}
    assert sum(jobs.depth().values()) == 20


def test_the_more_urgent_the_sooner_may_be_asked_again(database):
    fill(database, 10)
    jobs = limited(database, 10)
    waits = [refusal(jobs, priority=priority).retry_seconds for priority in Priority]
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


def test_nothing_is_refused_without_a_limit(database):
    jobs = limited(database, 0)
    assert [submit(jobs).status for _ in range(3)] == [Status.QUEUED] * 3


def test_a_limit_of_one_lets_one_of_any_priority_in(database):
    jobs = limited(database, 1)
    submit(jobs)
    assert refusal(jobs, priority="stat").retryable


def test_what_was_accepted_is_given_again_from_a_full_queue(database):
    jobs = limited(database, 1)
    first = submit(jobs, idempotency_key="k")
    assert submit(jobs, idempotency_key="k").id == first.id
    refusal(jobs, idempotency_key="other")


def test_what_was_accepted_goes_back_into_a_full_queue(database):
    jobs = limited(database, 1)
    submit(jobs)
    job = jobs.claim(worker_id="w", lease_seconds=30)
    fill(database, 1)
    jobs.fail(job, EngineStopped())
    assert jobs.get(job.id).status is Status.QUEUED


def test_a_queue_that_was_worked_off_takes_jobs_again_within_a_second(database):
    now = Clock()
    jobs = limited(database, 1, now)
    submit(jobs)
    jobs.finish(jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    refusal(jobs)
    now.now += 1
    submit(jobs)


def test_what_another_gateway_took_is_seen_within_a_second(database):
    now = Clock()
    here, there = limited(database, 5, now), limited(database, 5, now)
    submit(here)
    while not _is_full(there):
        pass
    now.now += 1
    refusal(here)


def _is_full(jobs):
    try:
        submit(jobs)
    except QueueFull:
        return True
    return False


def test_jobs_are_counted_once_a_second_and_not_for_each(database):
    now = Clock()
    jobs = limited(database, 1000, now)
    counted = []
    jobs._submissions.backlog._count = lambda _: counted.append(now.now)
    for _ in range(50):
        now.now += 0.1
        submit(jobs)
    assert 5 <= len(counted) <= 6


def test_counting_reads_the_index_of_what_is_queued_and_stops_at_the_limit(database):
    fill(database, 30)
    backlog, sent = Backlog(10), []
    event.listen(database.engine, "before_cursor_execute", lambda *told: sent.append(told[2:4]))
    with database.write() as connection:
        with pytest.raises(QueueFull):
            backlog.admit(connection, Priority.STAT)
        assert backlog._waiting == 10
        plan = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL enable_seqscan = off"))  # thirty rows are one page
        counting, parameters = next(one for one in sent if "count(*)" in one[0])
        rows = connection.exec_driver_sql(f"{plan} {counting}", parameters).all()
    assert "ix_jobs_claim" in str(rows)


SEAL = Seal([Seal.new_key()])


def arrival(number, *orders):
    return Arrival(channel=Channel.HL7, application="IMA", facility="PATH", control_id=f"M{number}",
                   raw=b"MSH|", orders=orders)  # fmt: skip


def an_intake(database, limit):
    return Intake(database, SEAL, lambda _: [a_question()], queue_limit=limit)


def test_a_hospitals_orders_are_refused_last_of_all(database):
    fill(database, 19)
    refusal(limited(database, 20), priority="urgent")
    intake = an_intake(database, 20)
    (receipt,) = intake.take([arrival(1, an_order(slide="S1"))])
    assert len(receipt.jobs) == 1
    with pytest.raises(QueueFull):
        intake.take([arrival(2, an_order(slide="S2"))])


def test_a_refused_batch_leaves_nothing_and_is_taken_whole_later(database):
    fill(database, 2)
    batch = [
        arrival(1, an_order(Verb.REGISTERED)),
        arrival(2, an_order()),
        arrival(3, an_order(Verb.WITHDRAWN)),
    ]
    with pytest.raises(QueueFull):
        an_intake(database, 2).take(batch)
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM messages")).scalar_one() == 0
    assert [receipt.taken for receipt in an_intake(database, 20).take(batch)] == [Taken.NEW] * 3


def test_a_full_queue_still_takes_cancellations_and_what_it_took_before(database):
    order = arrival(1, an_order())
    an_intake(database, 20).take([order])
    fill(database, 2)
    full = an_intake(database, 2)
    assert [receipt.taken for receipt in full.take([order])] == [Taken.AGAIN]
    (withdrawn,) = full.take([arrival(2, an_order(Verb.WITHDRAWN))])
    assert withdrawn.taken is Taken.NEW
    assert Jobs(database).depth()["routine"] == 2


def test_a_database_that_only_reads_is_not_available(database):
    """A standby after a failover, a file system that went read-only."""
    url = database.engine.url
    if not database.is_sqlite:
        url = url.update_query_dict({"options": "-c default_transaction_read_only=on"})
    standby = Database(url.render_as_string(hide_password=False))
    if standby.is_sqlite:
        event.listen(standby.engine, "connect", lambda driver, _: driver.execute("PRAGMA query_only=ON"))
    with pytest.raises(StoreUnavailable):
        submit(Jobs(standby))
    standby.close()
    assert sum(Jobs(database).depth().values()) == 0
