"""The worker program itself: how it ends, and what it leaves for others."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import ROOT
from tests.integration.queue.engines import submit, until
from worker.app import READ, READ_QUEUE, ring
from worker.jobs.job import Status
from worker.store.jobs import Jobs
from worker.store.presence import Workers

PROGRAM = [sys.executable, "-m", "tests.integration.queue.engines"]


class Program:
    def __init__(self, database, database_url, broker_url, folder, **settings):
        self.database, self.jobs = database, Jobs(database)
        self._log = folder / "worker.log"
        environment = {
            "DATABASE_URL": database_url, "BROKER_URL": broker_url, "SLOTS_DIR": folder / "slots", "SLOTS": 3,
            "DEVICE": "cpu", "SWEEP_SECONDS": 1, "LEASE_SECONDS": 600,
        } | settings  # fmt: skip
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                PROGRAM, cwd=ROOT, stdout=log, stderr=log,
                env=os.environ | {f"PATHLANE_{name}": str(value) for name, value in environment.items()},
            )  # fmt: skip
        until(
            lambda: Workers(database).alive(within_seconds=60) or self.process.poll() is not None, seconds=60
        )
        assert self.process.poll() is None, self.log()

    def log(self):
        return self._log.read_text()

    def submit(self, question, **fields):
        return submit(self.database, question, **fields)

    def until_running(self, job_id):
        until(lambda: self.jobs.get(job_id).status is Status.RUNNING, seconds=30)

    def state(self, job_id):
        job = self.jobs.get(job_id)
        return job.status, job.attempt, job.alone

    def ask_to_end(self):
        self.process.send_signal(signal.SIGTERM)

    def ends(self, seconds):
        began = time.monotonic()
        status = self.process.wait(seconds)
        return status, time.monotonic() - began


@pytest.fixture
def program(database, database_url, broker, broker_url, tmp_path):
    started = []

    def start(**settings):
        started.append(
            Program(database, database_url, settings.pop("BROKER", broker_url), tmp_path, **settings)
        )
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_asked_to_end_it_finishes_what_runs_and_claims_nothing_new(program):
    one = program()
    running = one.submit("long", timeout=4)
    ring(READ, queue=READ_QUEUE)
    one.until_running(running)
    one.ask_to_end()
    time.sleep(0.5)
    late = one.submit("why")
    ring(READ, queue=READ_QUEUE)
    status, _ = one.ends(30)
    assert status == 0, one.log()
    assert one.state(running) == (Status.SUCCEEDED, 1, False)
    assert one.state(late) == (Status.QUEUED, 0, False)
    assert Workers(one.database).alive(within_seconds=60) == []


def test_what_is_not_done_within_the_grace_goes_back_and_the_exit_is_clean(program):
    one = program(GRACE_SECONDS=1)
    long = one.submit("long", timeout=600)
    one.until_running(long)
    one.ask_to_end()
    status, seconds = one.ends(30)
    assert status == 0, one.log()
    assert seconds < 12
    assert one.state(long) == (Status.QUEUED, 0, False)


def test_asked_twice_it_ends_at_once_and_loses_nothing(program):
    one = program(GRACE_SECONDS=600)
    long = one.submit("long", timeout=600)
    one.until_running(long)
    one.ask_to_end()
    one.ask_to_end()  # an echo of the first
    time.sleep(2.5)
    assert one.process.poll() is None
    one.ask_to_end()
    status, seconds = one.ends(30)
    assert status == 0, one.log()
    assert seconds < 12
    assert one.state(long) == (Status.QUEUED, 0, False)


@pytest.mark.parametrize(
    ("question", "settings"), [("hang", {"STEP_SECONDS": 2}), ("lost", {}), ("crash", {})]
)
def test_an_engine_that_ends_takes_the_process_along_and_nobody_waits_for_the_lease(
    program, question, settings
):
    one = program(**settings)
    guilty = one.submit(question)
    status, _ = one.ends(30)
    assert status == 70, one.log()
    assert one.state(guilty) == (Status.QUEUED, 1, True)
    assert '"level": "critical"' in one.log()


def children_of(process):
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_no_decoder_is_left(program, way):
    one = program()
    until(lambda: children_of(one.process))
    children = children_of(one.process)
    one.process.send_signal(way)
    one.ends(30)
    until(lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children))


def test_without_a_broker_cases_are_read_all_the_same(program):
    one = program(BROKER="redis://127.0.0.1:1/0")
    ids = [one.submit("why") for _ in range(5)]
    until(lambda: {one.jobs.get(i).status for i in ids} == {Status.SUCCEEDED}, seconds=30)
    one.ask_to_end()
    status, _ = one.ends(60)
    assert status == 0, one.log()
