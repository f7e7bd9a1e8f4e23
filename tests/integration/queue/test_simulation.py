"""A simulated day on the real store: whatever fails, every accepted job ends, and STAT waits least."""

from argparse import Namespace

import pytest

from tests.benchmarks.national_day import day, ended, waits
from tests.benchmarks.simulation import MIDNIGHT, Clock, SimulatedDatabase
from worker.jobs.request import Priority
from worker.store import schema

OPTIONS = Namespace(
    hospitals=2, cases=60, slots=2, failures=2, step_ms=300.0, row_ms=1.0, prefill_ms=200.0, seed=3
)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path, clock):
    database = SimulatedDatabase(f"sqlite:///{tmp_path / 'day.db'}", clock)
    schema.migrate(database)
    yield database
    database.close()


def test_a_day_with_failing_gpus_loses_nothing(database, clock):
    lab = day(database, clock, OPTIONS, gpus=1)
    done, readings, _ = ended(database)
    assert done == readings == len(lab.came) == 120
    assert lab.returned > 0
    assert lab.late == 0


def test_rows_bear_the_simulated_time(database, clock):
    lab = day(database, clock, OPTIONS, gpus=1)
    for job_id, came in lab.came.items():
        job = lab.jobs.get(job_id)
        assert (job.created_at - MIDNIGHT).total_seconds() == pytest.approx(came, abs=0.01)


def test_statwaits_least(database, clock):
    lab = day(database, clock, OPTIONS, gpus=1)
    stat, routine = (waits(database, lab, one) for one in (Priority.STAT, Priority.ROUTINE))
    assert max(stat) <= max(routine)
