"""However many jobs wait, a claim looks at the first of them only."""

import pytest

from tests.depth import fill, plan_of_a_claim
from worker.jobs.request import Priority
from worker.store.jobs import Jobs

DEPTH = 3000


@pytest.fixture
def deep(database):
    fill(database, DEPTH)
    return database


def test_a_claim_reads_the_front_of_the_partial_index_and_sorts_nothing(deep):
    plan = plan_of_a_claim(deep)
    assert "ix_jobs_claim" in plan
    assert "sort" not in plan.lower()
    assert "temp b-tree" not in plan.lower()
    assert "Seq Scan on jobs" not in plan


def test_in_a_deep_queue_stat_comes_first(deep):
    jobs = Jobs(deep)
    assert jobs.claim(worker_id="w", lease_seconds=30).id == f"job_deep{DEPTH}"  # the oldest STAT


def test_jobs_that_wait_out_a_pause_hold_up_nobody(deep):
    fill(deep, 100, pausing=True)
    jobs = Jobs(deep)
    claimed = jobs.claim(worker_id="w", lease_seconds=30, at_least=Priority.STAT)
    assert claimed.id.startswith("job_deep")


def test_a_claim_still_uses_the_index_when_many_wait_out_a_pause(deep):
    fill(deep, 1000, pausing=True)
    plan = plan_of_a_claim(deep)
    assert "ix_jobs_claim" in plan
    assert "sort" not in plan.lower()
