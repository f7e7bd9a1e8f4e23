"""A job that is held ends in one of two ways: its reader writes the end down, or it is taken back."""

import threading
from datetime import UTC, datetime

from tests.builders import a_request
from worker.held import Held
from worker.jobs.job import Job, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(name="job_1"):
    return Job(
        id=name, status=Status.RUNNING, request=a_request(), submitter="lab", attempt=1, alone=False,
        cancel_requested=False, created_at=NOW, not_before=NOW, finished_at=None, error_code=None, error_text=None,
    )  # fmt: skip


def test_what_was_taken_back_may_not_be_ended_by_its_reader():
    held = Held()
    entry = held.add(a_job())
    assert held.take_back() == [entry]
    assert held.may_end(entry) is False
    assert held.all() == []


def test_what_is_being_ended_is_not_taken_back():
    held = Held()
    entry, other = held.add(a_job()), held.add(a_job("job_2"))
    assert held.may_end(entry) is True
    assert held.take_back() == [other]
    assert held.all() == [entry]


def test_two_readings_of_one_job_are_two_entries():
    held = Held()
    first, second = held.add(a_job()), held.add(a_job())
    held.remove(first)
    assert [entry is second for entry in held.all()] == [True]
    held.remove(first)
    assert len(held.all()) == 1


def test_whoever_waits_for_quiet_hears_of_it():
    held = Held()
    entry = held.add(a_job())
    assert held.wait_until(1, seconds=0)
    assert not held.wait_until(0, seconds=0.01)
    threading.Timer(0.05, held.remove, [entry]).start()
    assert held.wait_until(0, seconds=10)
