"""One life of a job after another, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.builders import a_reading, a_request
from worker.errors import (
    EngineStopped,
    IdempotencyConflict,
    ImageMissing,
    InvalidRequest,
    LeaseLost,
    NotFound,
    UnknownEndpoint,
)
from worker.jobs.job import Status
from worker.jobs.reading import ReadingOutcome
from worker.store.jobs import Jobs

EXPIRED = -1.0


@pytest.fixture
def jobs(database):
    return Jobs(database, public_url="https://pathlane.example", chance=lambda: 0.5)


def submit(jobs, **fields):
    return jobs.submit(a_request(**fields), submitter="lab").job


def claim(jobs, lease=30.0):
    return jobs.claim(worker_id="w1", lease_seconds=lease)


def sweep(jobs, **fields):
    return jobs.sweep(**({"patience_seconds": 3600} | fields))


def soon(hours):
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def test_a_submitted_job_is_there_and_queued(jobs):
    job = submit(jobs, question="What is this?", labels={"site": "A"}, correlation_id="c-1")
    found = jobs.get(job.id)
    assert found.status is Status.QUEUED
    assert found.request.question == "What is this?"
    assert found.request.labels == {"site": "A"}
    assert found.attempt == 0
    assert abs(found.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_same_key_and_body_is_the_same_job(jobs):
    first = jobs.submit(a_request(idempotency_key="k"), submitter="lab")
    second = jobs.submit(a_request(idempotency_key="k"), submitter="lab")
    assert (first.is_new, second.is_new) == (True, False)
    assert second.job.id == first.job.id


def test_the_same_key_with_another_body_is_a_conflict(jobs):
    submit(jobs, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        submit(jobs, idempotency_key="k", question="Something else?")


def test_two_askers_may_use_the_same_key(jobs):
    one = jobs.submit(a_request(idempotency_key="k"), submitter="a").job
    other = jobs.submit(a_request(idempotency_key="k"), submitter="b").job
    assert one.id != other.id


def test_fifty_simultaneous_submissions_of_one_key_make_one_job(jobs):
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(lambda _: jobs.submit(a_request(idempotency_key="k"), submitter="lab"), range(50))
        )
    assert len({answer.job.id for answer in answers}) == 1
    assert [answer.is_new for answer in answers].count(True) == 1


def test_a_due_time_in_the_past_is_refused_but_a_resend_of_an_accepted_job_is_not(jobs):
    with pytest.raises(InvalidRequest, match="due_at"):
        submit(jobs, due_at="2001-01-01T00:00:00Z")
    assert jobs.depth() == {"stat": 0, "urgent": 0, "routine": 0, "running": 0}


def test_an_unknown_endpoint_is_refused_and_nothing_is_stored(jobs):
    with pytest.raises(UnknownEndpoint):
        submit(jobs, endpoints=["nobody"])
    assert claim(jobs) is None


def test_stat_goes_before_urgent_before_routine_whatever_came_first(jobs):
    routine = submit(jobs)
    urgent = submit(jobs, priority="urgent")
    stat = submit(jobs, priority="stat")
    assert [claim(jobs).id for _ in range(3)] == [stat.id, urgent.id, routine.id]


def test_inside_a_level_the_due_time_decides_then_the_age(jobs):
    old = submit(jobs)
    new = submit(jobs)
    late = submit(jobs, due_at=soon(5))
    early = submit(jobs, due_at=soon(1))
    assert [claim(jobs).id for _ in range(4)] == [early.id, late.id, old.id, new.id]


def test_a_routine_job_that_waited_too_long_is_lifted_to_urgent_never_above_stat(jobs):
    waiting = submit(jobs)
    sweep(jobs, patience_seconds=-1)
    stat = submit(jobs, priority="stat")
    urgent = submit(jobs, priority="urgent")
    assert [claim(jobs).id for _ in range(3)] == [stat.id, waiting.id, urgent.id]


def test_one_job_is_claimed_by_one_worker_only(jobs):
    for _ in range(20):
        submit(jobs)
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: claim(jobs), range(30)))
    ids = [job.id for job in claimed if job]
    assert len(ids) == len(set(ids)) == 20


def test_a_finished_job_has_its_one_reading(jobs):
    submit(jobs)
    job = claim(jobs)
    reading = a_reading()
    jobs.finish(job, reading)
    assert jobs.get(job.id).status is Status.SUCCEEDED
    assert jobs.get(job.id).finished_at is not None
    assert jobs.reading(job.id) == reading


def test_a_job_whose_lease_ran_out_goes_back_and_is_tried_again_alone(jobs):
    submit(jobs)
    claim(jobs, EXPIRED)
    found = sweep(jobs)
    assert (found.returned, found.poisoned) == (1, 0)
    job = jobs.get(submit(jobs, priority="routine").id)
    assert job.alone is False
    returned = next(j for j in [jobs.get(i) for i in all_ids(jobs)] if j.attempt == 1)
    assert returned.status is Status.QUEUED
    assert returned.alone is True
    assert claim(jobs).id == returned.id, "it has waited for a whole lease: it is claimed at once"


def all_ids(jobs):
    from sqlalchemy import select

    from worker.store.jobs import jobs as table

    with jobs._database.read() as connection:
        return list(connection.execute(select(table.c.id)).scalars())


def test_a_worker_that_was_given_up_changes_nothing(jobs):
    submit(jobs)
    late = claim(jobs, EXPIRED)
    sweep(jobs)
    with pytest.raises(LeaseLost):
        jobs.finish(late, a_reading())
    with pytest.raises(LeaseLost):
        jobs.fail(late, EngineStopped())
    assert jobs.renew([(late.id, late.attempt)], lease_seconds=30) == {}
    assert jobs.reading(late.id) is None


def test_a_job_ends_once(jobs):
    submit(jobs)
    job = claim(jobs)
    jobs.finish(job, a_reading())
    for again in (lambda: jobs.finish(job, a_reading()), lambda: jobs.fail(job, EngineStopped())):
        with pytest.raises(LeaseLost):
            again()


def test_a_job_that_loses_three_workers_is_failed_as_poison(jobs):
    job = submit(jobs)
    for returned in (1, 1, 0):
        claim(jobs, EXPIRED)
        found = sweep(jobs)
        assert found.returned == returned
    assert found.poisoned == 1
    ended = jobs.get(job.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "attempts_exhausted")


def make_claimable(database):
    from sqlalchemy import update

    from worker.store.jobs import jobs as table
    from worker.store.session import clock

    with database.write() as connection:
        connection.execute(update(table).values(not_before=clock(-1)))


def test_a_renewed_lease_is_not_swept(jobs):
    submit(jobs)
    job = claim(jobs, EXPIRED)
    assert jobs.renew([(job.id, job.attempt)], lease_seconds=30) == {job.id: False}
    assert sweep(jobs).returned == 0


def test_a_retryable_error_puts_the_job_back_with_a_wait(jobs):
    submit(jobs)
    job = claim(jobs)
    jobs.fail(job, EngineStopped())
    again = jobs.get(job.id)
    assert again.status is Status.QUEUED
    assert again.alone is False
    assert claim(jobs) is None, "it waits for its backoff"
    assert timedelta(seconds=4) < again.not_before - datetime.now(UTC) < timedelta(seconds=6)


def test_an_input_error_fails_the_job_at_once(jobs):
    submit(jobs)
    job = claim(jobs)
    jobs.fail(job, ImageMissing())
    ended = jobs.get(job.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "image_missing")
    assert ended.error_text == "There is no image under this reference."


def test_the_last_retryable_error_fails_the_job_with_its_own_code(jobs, database):
    job = submit(jobs)
    for _ in range(3):
        make_claimable(database)
        jobs.fail(claim(jobs), EngineStopped())
    assert jobs.get(job.id).error_code == "engine_stopped"


def test_cancelling_a_queued_job_is_immediate(jobs):
    job = submit(jobs)
    ended, _ = jobs.cancel(job.id)
    assert ended.status is Status.CANCELLED
    assert claim(jobs) is None


def test_cancelling_a_running_job_is_heard_at_the_next_renewal(jobs):
    submit(jobs)
    job = claim(jobs)
    jobs.cancel(job.id)
    assert jobs.renew([(job.id, job.attempt)], lease_seconds=30) == {job.id: True}
    jobs.finish(job, a_reading(outcome=ReadingOutcome.CANCELLED, answer=""))
    assert jobs.get(job.id).status is Status.CANCELLED
    assert jobs.reading(job.id).reasoning, "what there was is kept"


def test_cancelling_an_ended_job_changes_nothing(jobs):
    submit(jobs)
    job = claim(jobs)
    jobs.finish(job, a_reading())
    assert jobs.cancel(job.id)[0].status is Status.SUCCEEDED
    with pytest.raises(NotFound):
        jobs.cancel("job_nothing")


def test_a_cancelled_job_whose_worker_died_is_cancelled_by_the_sweep(jobs):
    submit(jobs)
    job = claim(jobs, EXPIRED)
    jobs.cancel(job.id)
    sweep(jobs)
    assert jobs.get(job.id).status is Status.CANCELLED


def test_the_sweep_counts_what_may_be_claimed(jobs):
    for _ in range(3):
        submit(jobs)
    jobs.fail(claim(jobs), EngineStopped())
    assert sweep(jobs).waiting == 2


def test_depth_counts_by_priority(jobs):
    submit(jobs)
    submit(jobs, priority="stat")
    submit(jobs, priority="stat")
    claim(jobs)
    assert jobs.depth() == {"stat": 1, "urgent": 0, "routine": 1, "running": 1}
