"""Who did what: a row for everything, in its transaction, that nobody changes afterwards."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from tests.builders import a_question, a_reading, a_request, an_order
from worker.errors import EngineStopped, ImageMissing, LeaseLost, QueueFull, StoreUnavailable, UnknownEndpoint
from worker.jobs.audit import START, UNNAMED, Action, Head
from worker.jobs.event import DeliveryStatus, Outcome
from worker.jobs.order import Channel, Verb
from worker.jobs.reading import ReadingOutcome
from worker.log import LOGGABLE
from worker.store import outbox as outbox_module
from worker.store.audit import Audit, note
from worker.store.endpoints import Endpoints
from worker.store.intake import Arrival, Intake
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.outbox import Outbox
from worker.store.sealing import Seal
from worker.store.verification import verify

SEAL = Seal([Seal.new_key()])
AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def jobs(database):
    return Jobs(database)


@pytest.fixture
def audit(database):
    return Audit(database)


def submit(jobs, **fields):
    return jobs.submit(a_request(**fields), submitter="lab", actor="key:lab:key_1").job


def claim(jobs, worker="w1", lease=30.0):
    return jobs.claim(worker_id=worker, lease_seconds=lease)


def make_claimable(database):
    execute(database, "UPDATE jobs SET not_before = created_at")


def said(entries):
    return [(one.action, one.actor, one.attempt, one.code) for one in entries]


def test_a_job_that_is_read_and_told_leaves_every_step(database, jobs, audit):
    endpoint = Endpoints(database).add("lis", "https://lis.example", secret="s", actor="cli:ada")
    job = submit(jobs)
    (delivery_id,) = jobs.finish(claim(jobs), a_reading())
    outbox = Outbox(database)
    failed = Outcome(status=DeliveryStatus.PENDING, wait=timedelta(0), reason="timeout")
    outbox.record(outbox.claim(delivery_id, lease_seconds=9), failed)
    outbox.record(outbox.claim(delivery_id, lease_seconds=9), Outcome(status=DeliveryStatus.DELIVERED))
    jobs.hand_out(job.id, actor="cli:ada")
    outbox.replay(delivery_id, actor="cli:ada")
    outbox.record(
        outbox.claim(delivery_id, lease_seconds=9), Outcome(status=DeliveryStatus.GONE, reason="gone")
    )
    entries = audit.of_job(job.id)
    assert said(entries) == [
        ("submitted", "key:lab:key_1", None, None),
        ("claimed", "worker:w1", 1, None),
        ("finished", "worker:w1", 1, None),
        ("delivered", "courier", 2, None),
        ("read", "cli:ada", None, None),
        ("replayed", "cli:ada", None, None),
        ("delivery given up", "courier", 1, "gone"),
    ]
    told = [one for one in entries if one.delivery_id]
    assert {(one.delivery_id, one.subject_id) for one in told} == {(delivery_id, endpoint.id)}
    assert len(told) == 3


def test_a_job_that_fails_leaves_why(jobs, audit):
    job = submit(jobs)
    jobs.fail(claim(jobs), ImageMissing())
    assert said(audit.of_job(job.id))[-1] == ("failed", "worker:w1", 1, "image_missing")


def test_every_way_back_to_the_queue_is_written_down(database, jobs, audit):
    job = submit(jobs)
    jobs.release(claim(jobs, "a"))
    jobs.fail(claim(jobs, "b"), EngineStopped())
    make_claimable(database)
    jobs.suspect(claim(jobs, "c"))
    make_claimable(database)
    claim(jobs, "d", lease=-1)
    jobs.sweep(patience_seconds=3600)
    assert said(audit.of_job(job.id))[1:] == [
        ("claimed", "worker:a", 1, None), ("released", "worker:a", 1, None),
        ("claimed", "worker:b", 1, None), ("returned", "worker:b", 1, "engine_stopped"),
        ("claimed", "worker:c", 2, None), ("returned", "worker:c", 2, None),
        ("claimed", "worker:d", 3, None), ("failed", "sweep", 3, "attempts_exhausted"),
    ]  # fmt: skip


def test_a_lease_that_ran_out_is_returned_by_the_sweep(jobs, audit):
    job = submit(jobs)
    claim(jobs, lease=-1)
    jobs.sweep(patience_seconds=3600)
    assert said(audit.of_job(job.id))[-1] == ("returned", "sweep", 1, None)


def test_who_takes_a_job_back_is_written_down(jobs, audit):
    queued, running = submit(jobs), submit(jobs, priority="stat")
    held = claim(jobs)
    for job in (queued, running):
        jobs.cancel(job.id, actor="key:lab:key_1")
    assert said(audit.of_job(queued.id))[-1] == ("cancelled", "key:lab:key_1", 0, None)
    assert said(audit.of_job(running.id))[-1] == ("cancel asked", "key:lab:key_1", 1, None)
    jobs.finish(held, a_reading(outcome=ReadingOutcome.CANCELLED, answer=""))
    assert said(audit.of_job(running.id))[-1] == ("cancelled", "worker:w1", 1, None)
    count = len(audit.of_job(queued.id))
    jobs.cancel(queued.id)
    assert len(audit.of_job(queued.id)) == count, "it had ended: nothing happened"


def test_keys_and_endpoints_are_written_down(database, audit):
    keys, endpoints = Keys(database), Endpoints(database)
    key = keys.add("lab", "pl_secret", actor="cli:ada")
    keys.add("lab", "pl_secret", actor="cli:ada")
    keys.revoke(key.id, actor="cli:ada")
    endpoint = endpoints.add("lis", "https://lis.example", secret="a", actor="cli:ada")
    endpoints.rotate("lis", secret="b", overlap_seconds=1, actor="cli:ada")
    endpoints.pause("lis", actor="cli:ada")
    endpoints.resume("lis", actor="cli:ada")
    assert [(one.action, one.subject_id) for one in audit.since(AGO)] == [
        ("key added", key.id), ("key revoked", key.id), ("endpoint added", endpoint.id),
        ("endpoint rotated", endpoint.id), ("endpoint paused", endpoint.id), ("endpoint resumed", endpoint.id),
    ]  # fmt: skip
    assert {one.actor for one in audit.since(AGO)} == {"cli:ada"}


def an_arrival(number, *orders):
    return Arrival(channel=Channel.HL7, application="IMA", facility="PATH", control_id=f"M{number}",
                   raw=b"MSH|", orders=orders)  # fmt: skip


def test_a_hospitals_orders_are_written_down_with_their_message(database, audit):
    intake = Intake(database, SEAL, lambda _: [a_question()])
    (receipt,) = intake.take([an_arrival(1, an_order())])
    intake.take([an_arrival(2, an_order(Verb.WITHDRAWN))])
    entries = list(audit.since(AGO))
    assert [one.action for one in entries if one.case_id] == ["registered", "submitted", "asked", "withdrawn"]
    assert {one.actor for one in entries} == {"hl7:IMA"}
    assert all(one.message_id.startswith("in_") for one in entries if one.case_id)
    assert [one.action for one in audit.of_job(receipt.jobs[0])] == ["submitted", "asked", "cancelled"]


def test_nobody_is_unnamed_who_has_a_name(database, jobs, audit):
    jobs.submit(a_request(), submitter="celery")
    assert [one.actor for one in audit.since(AGO)] == ["celery"]
    job = claim(jobs)
    jobs.cancel(job.id)
    assert list(audit.since(AGO))[-1].actor == UNNAMED


def test_what_is_rolled_back_leaves_nothing(database, jobs, audit, monkeypatch):
    with pytest.raises(UnknownEndpoint):
        submit(jobs, endpoints=["nobody"])
    submit(jobs)
    with pytest.raises(QueueFull):
        Jobs(database, queue_limit=1).submit(a_request(), submitter="lab")
    jobs.cancel(claim(jobs).id)
    before = [one.action for one in audit.since(AGO)]
    assert before == ["submitted", "claimed", "cancel asked"]
    submit(jobs)
    job = claim(jobs)

    def dies(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(outbox_module, "tell", dies)
    for end in (lambda: jobs.finish(job, a_reading()), lambda: jobs.fail(job, ImageMissing())):
        with pytest.raises(RuntimeError):
            end()
    assert [one.action for one in audit.of_job(job.id)] == ["submitted", "claimed"]


def test_a_row_that_cannot_be_written_leaves_nothing_done(database, jobs, audit):
    """The other way round: no row, no deed."""
    job = submit(jobs)
    execute(database, "ALTER TABLE audit RENAME TO elsewhere")
    for deed in (lambda: claim(jobs), lambda: submit(jobs), lambda: jobs.cancel(job.id)):
        with pytest.raises((DBAPIError, StoreUnavailable)):
            deed()
    execute(database, "ALTER TABLE elsewhere RENAME TO audit")
    assert jobs.get(job.id).attempt == 0
    assert jobs.depth()["routine"] == 1
    assert [one.action for one in audit.of_job(job.id)] == ["submitted"]


def test_a_worker_that_was_given_up_leaves_nothing(jobs, audit):
    job = submit(jobs)
    late = claim(jobs, lease=-1)
    jobs.sweep(patience_seconds=3600)
    count = len(audit.of_job(job.id))
    for end in (lambda: jobs.finish(late, a_reading()), lambda: jobs.fail(late, EngineStopped())):
        with pytest.raises(LeaseLost):
            end()
    assert len(audit.of_job(job.id)) == count


def test_the_same_request_again_is_no_news(jobs, audit):
    for _ in range(2):
        job = submit(jobs, idempotency_key="k")
    assert len(audit.of_job(job.id)) == 1


def test_a_reading_that_is_not_there_is_not_read(jobs, audit):
    job = submit(jobs)
    assert jobs.hand_out(job.id, actor="cli:ada") is None
    assert len(audit.of_job(job.id)) == 1


def test_no_text_of_a_case_stands_in_the_audit(database, jobs):
    canary = "Canary"
    Endpoints(database).add("lis", "https://lis.example", secret=canary)
    Keys(database).add("lab", canary)
    request = a_request(
        question=f"Is Ms {canary} well?", options=[canary, "B"], labels={"a": canary}, correlation_id=canary
    )
    for reading in (a_reading(reasoning=canary, answer=canary, raw_text=canary), None):
        jobs.submit(request, submitter="lab")
        job = claim(jobs)
        if reading:
            jobs.finish(job, reading)
            jobs.hand_out(job.id)
        else:
            jobs.fail(job, ImageMissing(canary))
    order = an_order(accession=canary, slide=canary)
    Intake(database, SEAL, lambda _: [a_question(text=canary, options=(canary, "B"))]).take(
        [an_arrival(1, order)]
    )
    with database.read() as connection:
        rows = connection.execute(text("SELECT * FROM audit")).all()
    assert len(rows) > 8
    assert canary not in str(rows)


def test_a_row_is_chained_once_in_the_order_of_time(jobs, audit, database):
    for _ in range(5):
        submit(jobs)
    assert audit.head() == START
    assert audit.chain() == 5
    first = audit.head()
    assert first.seq == 5
    assert audit.chain() == 0
    claim(jobs)
    assert audit.chain() == 1
    with database.read() as connection:
        seqs = connection.execute(text("SELECT seq FROM audit ORDER BY at, id")).scalars().all()
    assert seqs == [1, 2, 3, 4, 5, 6]
    report = verify(database, anchors=[first, audit.head()])
    assert (report.findings, report.unchained, report.head.seq) == ((), 0, 6)


def test_a_call_lays_at_most_its_limit(jobs, audit, database, monkeypatch):
    from worker.store import audit as module

    monkeypatch.setattr(module, "BATCH", 2)
    for _ in range(7):
        submit(jobs)
    assert [audit.chain(limit=5), audit.chain(), audit.chain()] == [5, 2, 0]
    assert verify(database).findings == ()


def test_the_new_head_is_logged(jobs, audit):
    submit(jobs)
    with capture_logs() as lines:
        audit.chain()
        audit.chain()
    (line,) = lines
    assert line["event"] == "audit.chained"
    assert audit.head() == Head.parse(f"{line['seq']}:{line['digest']}")
    assert line.keys() <= LOGGABLE | {"log_level"}


def test_many_sealers_at_once_lay_one_chain(database, jobs, audit):
    """While others go on writing, as in a busy house."""
    stopped = threading.Event()

    def seal():
        while not stopped.is_set():
            audit.chain(limit=7)

    with ThreadPoolExecutor(6) as pool:
        sealers = [pool.submit(seal) for _ in range(3)]
        list(pool.map(lambda _: submit(jobs), range(60)))
        stopped.set()
        for sealer in sealers:
            sealer.result()
    audit.chain()
    assert audit.head().seq == 60
    assert verify(database).findings == ()


def test_a_sealer_does_not_wait_for_one_that_is_at_it(database, jobs, audit):
    submit(jobs)
    if database.is_sqlite:
        pytest.skip("one lock for all writers: a sealer waits its turn")
    with database.write() as connection:
        connection.execute(text("SELECT * FROM audit_head FOR UPDATE"))
        assert audit.chain() == 0
    assert audit.chain() == 1


def test_a_row_of_a_transaction_that_ends_late_gets_a_later_number(database, jobs, audit):
    if database.is_sqlite:
        pytest.skip("there is one writer at a time")
    with database.write() as connection:
        note(connection, Action.READ, actor="slow")
        submit(jobs)
        assert audit.chain() == 1
    assert audit.chain() == 1
    assert verify(database).findings == ()


def test_a_straggler_from_long_ago_is_chained_in_the_end(database, jobs, audit, monkeypatch):
    from worker.store import audit as module

    submit(jobs)
    assert [audit.chain(), audit.chain()] == [1, 0]
    execute(
        database,
        "INSERT INTO audit (id, at, actor, action) SELECT 'x', '2001-01-01 00:00:00.000000', actor, action FROM audit",
    )
    submit(jobs)
    assert [audit.chain(), audit.chain()] == [1, 0], "nobody steps over all that was chained before"
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0)
    assert audit.chain() == 1
    assert verify(database).findings == ()


REFUSED = [
    "UPDATE audit SET actor = 'somebody else'",
    "UPDATE audit SET seq = NULL, digest = NULL WHERE seq = 1",
    "UPDATE audit SET seq = 77, digest = digest WHERE seq = 1",
    "UPDATE audit SET seq = 77 WHERE seq IS NULL",
    "UPDATE audit SET seq = 77, digest = 'x', actor = 'me' WHERE seq IS NULL",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE seq IS NULL",
    "INSERT INTO audit (id, at, actor, action, seq) SELECT 'x', at, actor, action, 77 FROM audit WHERE seq = 1",
    "UPDATE audit_head SET seq = 0",
    "UPDATE audit_head SET digest = 'x'",
    "DELETE FROM audit_head",
    "INSERT INTO audit_head (id, seq, digest) VALUES (2, 0, 'x')",
]
ON_ONE = {
    True: [
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE seq = 1",
        "UPDATE OR REPLACE audit SET seq = 1, digest = 'x' WHERE seq IS NULL",
        "INSERT OR REPLACE INTO audit_head (id, seq, digest) VALUES (1, 9, 'x')",
    ],
    False: ["TRUNCATE audit", "TRUNCATE audit_head"],
}


def test_the_database_itself_refuses_to_change_or_delete_a_row(database, jobs, audit):
    submit(jobs)
    submit(jobs)
    audit.chain()
    submit(jobs)
    before = _all(database)
    for statement in (*REFUSED, *ON_ONE[database.is_sqlite]):
        with pytest.raises(DBAPIError, match="audit"):
            execute(database, statement)
    assert _all(database) == before
    assert audit.chain() == 1


def execute(database, statement):
    with database.write() as connection:
        connection.execute(text(statement))


def _all(database):
    with database.read() as connection:
        return [
            connection.execute(text(f"SELECT * FROM {t} ORDER BY id")).all() for t in ("audit", "audit_head")
        ]


def test_what_happened_since_comes_in_pages_and_by_action(jobs, audit):
    for _ in range(7):
        submit(jobs)
    claim(jobs)
    found = [one.id for one in audit.since(AGO, page=3)]
    assert len(found) == len(set(found)) == 8
    assert [one.action for one in audit.since(AGO, actions=["claimed"])] == ["claimed"]
    assert list(audit.since(datetime.now(UTC) + timedelta(minutes=1))) == []
