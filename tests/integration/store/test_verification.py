"""Whatever is done to the audit behind its back is found and named, with its triggers dropped too."""

import tracemalloc

import pytest
from sqlalchemy import text

from tests.builders import a_reading, a_request
from worker.jobs.audit import START, Action, Head, digest_of
from worker.jobs.event import DeliveryStatus, Outcome
from worker.store import verification
from worker.store.audit import Audit, entry, note_all, plain_columns
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.verification import Kind, verify

TRIGGERS = (
    "audit_only_grows", "audit_is_kept", "audit_begins_unchained", "audit_head_goes_up", "audit_head_is_kept",
)  # fmt: skip


class House:
    """A store where jobs are read and told, and somebody with every right to its database."""

    def __init__(self, database):
        self.database = database
        self.jobs, self.audit, self.outbox = Jobs(database), Audit(database), Outbox(database)
        Endpoints(database).add("lis", "https://lis.example", secret="s")

    def read(self, count=1):
        """Submitted, claimed, finished, delivered: four rows a job."""
        for _ in range(count):
            job = self.jobs.submit(a_request(), submitter="lab").job
            (delivery,) = self.jobs.finish(self.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
            claimed = self.outbox.claim(delivery, lease_seconds=30)
            self.outbox.record(claimed, Outcome(status=DeliveryStatus.DELIVERED))
        return job.id, delivery

    def drop_triggers(self):
        for name in TRIGGERS:
            table = "audit_head" if "head" in name else "audit"
            self.execute(f"DROP TRIGGER {name}" + ("" if self.database.is_sqlite else f" ON {table}"))

    def execute(self, *statements, **values):
        with self.database.write() as connection:
            for statement in statements:
                connection.execute(text(statement), values)

    def id_of(self, seq):
        with self.database.read() as connection:
            return connection.execute(
                text("SELECT id FROM audit WHERE seq = :seq"), {"seq": seq}
            ).scalar_one()

    def forge_from(self, first):
        """Every digest from there on computed anew, and the head with them."""
        columns = ", ".join(map(str, plain_columns(is_sqlite=self.database.is_sqlite)))
        with self.database.write() as connection:
            previous = connection.execute(
                text("SELECT digest FROM audit WHERE seq = :seq"), {"seq": first - 1}
            ).scalar_one()
            rows = connection.execute(
                text(f"SELECT seq, {columns} FROM audit WHERE seq >= :first ORDER BY seq".replace(":MI", r"\:MI")
                     .replace(":SS", r"\:SS")), {"first": first}
            ).all()  # fmt: skip
            for seq, *values in rows:
                previous = digest_of(previous, seq, values)
                new = {"digest": previous, "seq": seq}
                connection.execute(text("UPDATE audit SET digest = :digest WHERE seq = :seq"), new)
            connection.execute(text("UPDATE audit_head SET seq = :seq, digest = :digest"), new)

    def findings(self, *anchors):
        return [(one.kind, one.text) for one in verify(self.database, anchors=anchors).findings]


@pytest.fixture
def house(database):
    """Nine rows in the chain, and nothing that would stop a thief."""
    house = House(database)
    house.read(2)
    assert house.audit.chain() == 9
    house.drop_triggers()
    return house


def changed(seq, row_id):
    return (Kind.CHANGED, f"Row {seq} ({row_id}) does not fit the row before it: one of the two was changed.")


def test_a_house_where_all_is_well_is_clean(house):
    assert house.findings(START, house.audit.head()) == []


def test_an_audit_that_nobody_has_begun_is_clean(database):
    report = verify(database)
    assert (report.findings, report.head, report.unchained) == ((), START, 0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "'key:other'"), ("action", "'claimed by nobody'"), ("job_id", "'job_other'"),
        ("job_id", "NULL"), ("case_id", "'case_x'"), ("delivery_id", "'msg_x'"), ("message_id", "'in_x'"),
        ("subject_id", "'ep_x'"), ("attempt", "7"), ("code", "'x'"), ("id", "'audit_other'"),
        ("sealed", "CAST('x' AS {bytes})"), ("at", "'2001-01-01 00:00:00.000000'"),
    ],
)  # fmt: skip
def test_a_changed_row_is_named(house, column, value):
    value = value.format(bytes="BLOB" if house.database.is_sqlite else "bytea")
    house.execute(f"UPDATE audit SET {column} = {value} WHERE seq = 3")
    assert changed(3, house.id_of(3)) in house.findings()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET at = {never} WHERE seq = 3",
        "UPDATE audit SET digest = NULL WHERE seq = 3",
        "UPDATE audit SET digest = 'x' WHERE seq = 3",
    ],
)
def test_what_is_put_in_a_column_by_hand_does_not_stop_the_look(house, statement):
    house.execute(statement.format(never="'never'" if house.database.is_sqlite else "'infinity'"))
    assert changed(3, house.id_of(3)) in house.findings()


def test_every_changed_row_is_named_once(house):
    house.execute("UPDATE audit SET actor = 'me' WHERE seq IN (2, 3, 8)")
    assert house.findings() == [changed(seq, house.id_of(seq)) for seq in (2, 3, 8)]


def test_a_changed_row_with_a_digest_that_fits_is_found_at_the_next(house):
    house.execute("UPDATE audit SET actor = 'me' WHERE seq = 4")
    with house.database.read() as connection:
        columns = plain_columns(is_sqlite=house.database.is_sqlite)
        from sqlalchemy import select

        from worker.store.audit import audit

        before = connection.execute(select(audit.c.digest).where(audit.c.seq == 3)).scalar_one()
        row = connection.execute(select(*columns).select_from(audit).where(audit.c.seq == 4)).one()
    house.execute("UPDATE audit SET digest = :digest WHERE seq = 4", digest=digest_of(before, 4, row))
    assert house.findings() == [changed(5, house.id_of(5))]


def test_a_row_that_is_gone_from_the_middle_is_named(house):
    house.execute("DELETE FROM audit WHERE seq = 3")
    assert house.findings() == [(Kind.MISSING, "Row 3 is missing.")]
    house.execute("DELETE FROM audit WHERE seq IN (4, 7)")
    assert [text for kind, text in house.findings() if kind is Kind.MISSING] == [
        "Rows 3 to 4 are missing.", "Row 7 is missing.",
    ]  # fmt: skip


def test_rows_that_are_gone_and_the_rest_numbered_anew_are_found(house):
    house.execute("DELETE FROM audit WHERE seq = 3")
    for seq in range(4, 10):
        house.execute(f"UPDATE audit SET seq = {seq - 1} WHERE seq = {seq}")
    kinds = [kind for kind, _ in house.findings()]
    assert kinds[0] is Kind.CHANGED
    assert Kind.CUT_OFF in kinds


def test_an_end_that_was_cut_off_is_found(house):
    house.execute("DELETE FROM audit WHERE seq > 7")
    found = house.findings()
    assert found[0] == (Kind.CUT_OFF, "Rows 8 to 9 are gone: the end of the chain was cut off.")


def test_an_end_that_was_cut_off_with_its_head_is_found_by_an_anchor_and_by_the_tables(house):
    anchor = house.audit.head()
    house.execute("DELETE FROM audit WHERE seq > 7")
    with house.database.read() as connection:
        digest = connection.execute(text("SELECT digest FROM audit WHERE seq = 7")).scalar_one()
    house.execute("UPDATE audit_head SET seq = 7, digest = :digest", digest=digest)
    assert {kind for kind, _ in house.findings()} == {Kind.UNRECORDED}
    assert house.findings(anchor)[0] == (
        Kind.CUT_OFF,
        "The chain ends at row 7, before the anchor of row 9.",
    )


def test_two_rows_that_changed_places_are_found(house):
    house.execute(
        "UPDATE audit SET seq = -1 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 4",
        "UPDATE audit SET seq = 4 WHERE seq = -1",
    )
    found = house.findings()
    assert found[:2] == [changed(3, house.id_of(3)), changed(4, house.id_of(4))]


def test_a_chain_that_was_laid_anew_is_found_by_an_anchor_only(house):
    anchor = house.audit.head()
    house.execute("UPDATE audit SET actor = 'me' WHERE seq = 4")
    house.forge_from(4)
    house.read()
    house.audit.chain()
    assert house.findings() == [], "without an anchor it looks like any other"
    assert house.findings(anchor) == [
        (
            Kind.ANCHOR,
            f"Row 9 ({house.id_of(9)}) has another digest than its anchor: the chain was laid anew.",
        )
    ]


def test_a_head_that_was_changed_is_found(house):
    house.execute("UPDATE audit_head SET digest = :digest", digest=b"x" * 32)
    assert house.findings() == [(Kind.HEAD, "The head has another digest than row 9.")]
    house.execute("DELETE FROM audit_head")
    assert house.findings() == [(Kind.HEAD, "The head of the chain is gone.")]


def test_a_head_that_was_set_back_leaves_rows_beyond_it(house):
    with house.database.read() as connection:
        digest = connection.execute(text("SELECT digest FROM audit WHERE seq = 8")).scalar_one()
    house.execute("UPDATE audit_head SET seq = 8, digest = :digest", digest=digest)
    assert house.findings() == [
        (Kind.BEYOND, f"Row 9 ({house.id_of(9)}) has a number that the chain does not reach.")
    ]


def test_a_row_that_is_put_in_twice_is_found(house):
    house.execute(
        "DROP INDEX ix_audit_seq",
        "INSERT INTO audit (id, at, actor, action, seq, digest)"
        " SELECT 'zzz', at, actor, action, seq, digest FROM audit WHERE seq = 3",
    )
    assert house.findings() == [(Kind.DOUBLED, "Row 3 is there twice, once as zzz.")]


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ("submitted", "{job} is a job, and nobody submitted it."),
        ("finished", "{job} is succeeded, and its end is not written down."),
        ("delivered", "{delivery} is delivered, and its delivery is not written down."),
    ],
)
def test_a_row_that_was_removed_before_it_was_chained_is_missed(house, action, sentence):
    job, delivery = house.read()
    house.execute("DELETE FROM audit WHERE action = :action AND seq IS NULL", action=action)
    house.audit.chain()
    assert house.findings() == [(Kind.UNRECORDED, sentence.format(job=job, delivery=delivery))]


def test_a_row_of_an_earlier_end_does_not_stand_for_a_later_one(house):
    job, _ = house.read()
    house.execute("UPDATE audit SET attempt = 0 WHERE action = 'finished' AND seq IS NULL")
    house.audit.chain()
    assert house.findings() == [(Kind.UNRECORDED, f"{job} is succeeded, and its end is not written down.")]


def test_a_job_that_changed_without_the_program_is_missed(house):
    job = house.jobs.submit(a_request(), submitter="lab").job
    house.execute("UPDATE jobs SET status = 'cancelled' WHERE id = :id", id=job.id)
    assert house.findings() == [(Kind.UNRECORDED, f"{job.id} is cancelled, and its end is not written down.")]


def test_what_waits_to_be_chained_is_counted_and_is_no_finding(house):
    house.read()
    report = verify(house.database)
    assert (report.findings, report.unchained) == ((), 4)


def test_a_house_that_is_at_work_is_clean(house):
    """While rows are written and chained, a look finds nothing wrong with them."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(house.read, 15), pool.submit(lambda: [house.audit.chain() for _ in range(40)])]
        while not all(one.done() for one in working):
            assert house.findings() == []
        for one in working:
            one.result()


def test_findings_of_one_sort_have_an_end(house, monkeypatch):
    monkeypatch.setattr(verification, "MOST", 3)
    house.execute("UPDATE audit SET actor = 'me'")
    assert len(house.findings()) == 3


def many(database, count):
    for begin in range(0, count, 5000):
        with database.write() as connection:
            rows = [entry(Action.READ, actor=f"key:lab:{n}", job_id="job_x") for n in range(5000)]
            note_all(connection, rows[: count - begin])


def test_a_long_audit_is_laid_and_looked_at_in_little_memory(database, monkeypatch):
    many(database, 20_000)
    audit = Audit(database)
    assert audit.chain() == 20_000
    monkeypatch.setattr(verification, "PAGE", 500)
    seen = []
    tracemalloc.start()
    report = verify(database, anchors=[audit.head()], progress=seen.append)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.findings == ()
    assert seen == list(range(500, 20_001, 500))
    assert most < 4_000_000, "a row is half a kilobyte: all of them would be ten megabytes"


def test_an_anchor_of_a_row_is_not_one_of_another(house):
    wrong = Head(3, house.audit.head().digest)
    assert [kind for kind, _ in house.findings(wrong)] == [Kind.ANCHOR]
