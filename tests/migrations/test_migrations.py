"""The migrations and the tables say the same, on both databases, up and down."""

import re

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from worker.errors import SchemaOutdated
from worker.jobs.scope import Scope
from worker.store import schema
from worker.store.audit import Audit
from worker.store.keys import Keys
from worker.store.session import Database
from worker.store.tables import Base
from worker.store.verification import verify


@pytest.fixture
def empty(database_url):
    database = Database(database_url)
    yield database
    database.close()


def downgrade(database, revision="base"):
    config = schema._config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_the_migrated_schema_is_the_one_in_the_tables(empty):
    schema.migrate(empty)
    with empty.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_step_is_the_one_that_is_checked_for():
    assert ScriptDirectory.from_config(schema._config()).get_current_head() == schema.HEAD


def test_migrating_twice_changes_nothing(empty):
    schema.migrate(empty)
    schema.migrate(empty)
    schema.check(empty)


def test_all_the_way_down_leaves_nothing_and_up_again_works(empty):
    schema.migrate(empty)
    downgrade(empty)
    assert set(inspect(empty.engine).get_table_names()) <= {"alembic_version"}
    schema.migrate(empty)
    schema.check(empty)


def test_a_database_that_was_never_migrated_says_what_to_do(empty):
    with pytest.raises(SchemaOutdated, match="pathlane migrate"):
        schema.check(empty)


OLDER = """
INSERT INTO messages (id, channel, application, facility, control_id, digest, received_at, is_test)
 VALUES ('in_1', 'hl7', 'IMA', '', 'M1', '', :at, false);
INSERT INTO cases (id, domain, accession, slide, status, generation, series_uid, patient_digest, created_at,
 updated_at, sealed) VALUES ('case_1', '', 'A', '', 'open', 0, '', '', :at, :at, :sealed);
INSERT INTO audit (id, at, case_id, message_id, what, sealed) VALUES
 ('audit_1', :at, 'case_1', 'in_1', 'registered', :sealed);
INSERT INTO audit (id, at, case_id, message_id, what, sealed) VALUES
 ('audit_2', :at, 'case_1', NULL, 'patient merged', :sealed);
INSERT INTO jobs (id, status, level, due_order, created_at, not_before, attempt, alone, cancel_requested,
 submitter, request, request_digest, finished_at, error_code) VALUES
 ('job_1', 'queued', 2, :at, :at, :at, 0, false, false, 'lab', '{}', '', NULL, NULL),
 ('job_2', 'succeeded', 2, :at, :at, :at, 1, false, false, 'lab', '{}', '', :later, NULL),
 ('job_3', 'failed', 2, :at, :at, :at, 3, false, false, 'lab', '{}', '', :later, 'engine_stopped'),
 ('job_4', 'cancelled', 2, :at, :at, :at, 0, false, false, 'lab', '{}', '', :later, NULL);
INSERT INTO endpoints (id, name, url, status, event_types, payload, secret, created_at) VALUES
 ('ep_1', 'lis', 'https://lis.example', 'active', '[]', 'thin', 's', :at);
INSERT INTO deliveries (id, job_id, endpoint_id, event_type, body, status, attempt, next_at, created_at,
 delivered_at) VALUES ('msg_1', 'job_2', 'ep_1', 'job.succeeded', :sealed, 'delivered', 1, :at, :at, :later)
"""


def fill(database):
    """What a store of the version before this one had."""
    values = {
        "at": "2026-01-01 00:00:00.000000",
        "later": "2026-01-02 00:00:00.000000",
        "sealed": b"\x01sealed",
    }
    with database.write() as connection:
        for words in OLDER.strip().split(";"):
            statement = (
                words if database.is_sqlite else re.sub(r":(at|later)", r"CAST(:\1 AS timestamptz)", words)
            )
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), used)


def rows(database, columns, table="audit"):
    with database.read() as connection:
        return connection.execute(text(f"SELECT {columns} FROM {table} ORDER BY id")).all()


def test_what_the_older_audit_said_is_kept_and_what_it_did_not_say_is_written_down(empty):
    schema.migrate(empty, "0002")
    fill(empty)
    schema.migrate(empty)
    found = rows(empty, "id, actor, action, job_id, case_id, message_id, delivery_id, attempt, code, seq")
    assert [tuple(row) for row in found] == [
        ("audit_1", "hl7:IMA", "registered", None, "case_1", "in_1", None, None, None, None),
        ("audit_2", "migration", "patient merged", None, "case_1", None, None, None, None, None),
        ("audit_delivered_msg_1", "migration", "delivered", "job_2", None, None, "msg_1", 1, None, None),
        ("audit_ended_job_2", "migration", "finished", "job_2", None, None, None, 1, None, None),
        ("audit_ended_job_3", "migration", "failed", "job_3", None, None, None, 3, "engine_stopped", None),
        ("audit_ended_job_4", "migration", "cancelled", "job_4", None, None, None, 0, None, None),
        *[
            (f"audit_submitted_job_{n}", "migration", "submitted", f"job_{n}", *[None] * 6)
            for n in (1, 2, 3, 4)
        ],
    ]
    assert [bytes(row.sealed) for row in rows(empty, "id, sealed")[:2]] == [b"\x01sealed"] * 2
    assert Audit(empty).chain() == 10
    assert verify(empty).findings == ()
    assert [one.action for one in Audit(empty).of_job("job_2")] == ["submitted", "delivered", "finished"]


def test_going_down_keeps_what_the_older_audit_can_hold(empty):
    schema.migrate(empty, "0002")
    fill(empty)
    before = rows(empty, "*")
    schema.migrate(empty)
    Audit(empty).chain()
    downgrade(empty, "0002")
    assert rows(empty, "*") == before
    schema.migrate(empty)
    assert verify(empty).findings == ()


BEFORE_SCOPES = """
INSERT INTO api_keys (id, name, digest, created_at) VALUES ('key_1', 'lab', 'd', :at);
INSERT INTO jobs (id, status, level, due_order, created_at, not_before, attempt, alone, cancel_requested,
 submitter, request, request_digest) VALUES
 ('job_1', 'queued', 1, :at, :at, :at, 0, false, false, 'lab', :lifted, ''),
 ('job_2', 'queued', 0, :at, :at, :at, 0, false, false, 'lab', :stat, '')
"""


def test_older_keys_open_everything_and_older_jobs_are_listed_as_they_were_asked_for(empty):
    schema.migrate(empty, "0003")
    values = {
        "at": "2026-01-01 00:00:00.000000", "lifted": '{"priority": "routine"}',
        "stat": '{"priority": "stat", "correlation_id": "c-1"}',
    }  # fmt: skip
    with empty.write() as connection:
        for words in BEFORE_SCOPES.strip().split(";"):
            statement = words
            if not empty.is_sqlite:
                statement = re.sub(r":(lifted|stat)", r"CAST(:\1 AS jsonb)", statement)
                statement = re.sub(r":at", "CAST(:at AS timestamptz)", statement)
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
    schema.migrate(empty)
    (key,) = Keys(empty).all()
    assert (key.scopes, key.expires_at) == (frozenset(Scope), None)
    assert [tuple(row) for row in rows(empty, "id, level, asked_level, correlation_id, rerun_of", "jobs")] == [
        ("job_1", 1, 2, None, None), ("job_2", 0, 0, "c-1", None),
    ]  # fmt: skip
    downgrade(empty, "0003")
    assert [row.id for row in rows(empty, "id", "jobs")] == ["job_1", "job_2"]
    schema.migrate(empty)
    assert Keys(empty).all() == [key]
