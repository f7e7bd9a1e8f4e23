"""`pathlane audit verify | head | show | list`, and whose name the command line leaves in it."""

import json
import os
import pwd

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from integrations.cli import main
from tests.builders import a_reading, a_request
from worker.store.audit import Audit
from worker.store.jobs import Jobs

ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
def run(database_url, monkeypatch):
    monkeypatch.setenv("PATHLANE_DATABASE_URL", database_url)

    def called(*words, status=0):
        result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result

    return called


@pytest.fixture
def job(database):
    """One that was read, with its three rows in the chain."""
    jobs = Jobs(database)
    job = jobs.submit(a_request(), submitter="lab").job
    jobs.finish(jobs.claim(worker_id="w1", lease_seconds=30), a_reading())
    Audit(database).chain()
    return job


def test_a_clean_audit_is_0(run, job):
    assert run("audit", "verify").stdout == (
        "No row was changed or removed: 3 rows in the chain, 0 anchors.\n"
    )
    run("show", job.id)
    assert "1 more wait to be chained." in run("audit", "verify").stdout
    head = run("audit", "head").stdout.strip()
    assert json.loads(run("audit", "verify", "--anchor", head, "--json").stdout) == {
        "clean": True, "head": head, "unchained": 1, "findings": [],
    }  # fmt: skip


def test_what_is_wrong_is_a_sentence_each_and_1(run, job, database):
    head = run("audit", "head").stdout.strip()
    with database.write() as connection:
        on = "" if database.is_sqlite else " ON audit"
        connection.execute(text(f"DROP TRIGGER audit_is_kept{on}"))
        connection.execute(text("DELETE FROM audit WHERE seq = 2"))
    result = run("audit", "verify", status=1)
    assert result.stdout.splitlines() == [
        "Row 2 is missing.", "1 findings: 3 rows in the chain, 0 anchors.",
    ]  # fmt: skip
    found = json.loads(run("audit", "verify", "--json", "--anchor", head, status=1).stdout)
    assert (found["clean"], found["findings"]) == (False, [{"kind": "missing", "text": "Row 2 is missing."}])


def test_an_anchor_that_does_not_hold_is_1(run, job):
    result = run("audit", "verify", "--anchor", f"9:{'0' * 64}", "--anchor", f"1:{'0' * 64}", status=1)
    assert "has another digest than its anchor" in result.stdout
    assert "before the anchor of row 9" in result.stdout


@pytest.mark.parametrize("anchor", ["9", "9:ab", "x"])
def test_an_anchor_that_cannot_be_read_is_refused(run, anchor):
    assert "SEQ:DIGEST" in run("audit", "verify", "--anchor", anchor, status=2).stderr


def test_the_steps_of_a_job_are_shown_with_who_took_them(run, job):
    run("show", job.id)
    lines = run("audit", "show", job.id).stdout.splitlines()
    assert [line.split("  ")[1:3] for line in lines] == [
        ["submitted", "by lab"], ["claimed", "by worker:w1"], ["finished", "by worker:w1"], ["read", f"by {ME}"],
    ]  # fmt: skip
    first = json.loads(run("audit", "show", job.id, "--json").stdout)[0]
    assert (first["seq"], first["action"], first["job_id"]) == (1, "submitted", job.id)
    assert first["at"].endswith("Z")


def test_a_job_that_is_not_there_has_no_steps(run, database):
    run("audit", "show", "job_nothing", status=2)


def test_what_happened_of_late_is_listed(run, job):
    made = run("key", "add", "lab").stdout.strip()
    (row,) = json.loads(run("audit", "list", "--action", "key added", "--json").stdout)
    assert row["actor"] == ME
    assert row["subject_id"].startswith("key_")
    assert made not in run("audit", "list").stdout
    assert len(run("audit", "list", "--limit", "2").stdout.splitlines()) == 2
    assert run("audit", "list", "--since", "-1").stdout == ""


def test_the_command_line_leaves_its_account(run, job, database):
    run("endpoint", "add", "lis", "https://lis.example")
    run("endpoint", "pause", "lis")
    run("endpoint", "resume", "lis")
    run("endpoint", "rotate", "lis")
    waiting = Jobs(database).submit(a_request(), submitter="lab").job
    run("cancel", waiting.id)
    deliveries = json.loads(run("show", waiting.id, "--json").stdout)["deliveries"]
    run("replay", deliveries[0]["id"])
    with database.read() as connection:
        rows = connection.execute(text("SELECT action, actor FROM audit ORDER BY at, id")).all()
    assert [row.action for row in rows if row.actor == ME] == [
        "endpoint added", "endpoint paused", "endpoint resumed", "endpoint rotated", "cancelled", "replayed",
    ]  # fmt: skip
    assert "unnamed" not in {row.actor for row in rows}


@pytest.mark.parametrize("command", ["verify", "head", "show", "list"])
def test_every_part_of_it_shows_how_it_is_used(run, command):
    assert f"pathlane audit {command}" in run("audit", command, "--help").stdout.split("\n", 1)[1]
