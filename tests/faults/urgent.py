"""Urgent first: a STAT case behind ten thousand routine ones, and a routine case beside endless urgent ones.

In: an open ward, how many STAT cases. Out: problems and figures. Times are the database's, from acceptance to the
end; those with and without a backlog come from the same run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median

from tests.faults.ward import Ward
from worker.jobs.job import Status
from worker.store.jobs import Jobs

BACKLOG = 10_000
CLAIMED = "SELECT min(at) FROM audit WHERE action = 'claimed' AND job_id = :job"
CLAIMED_BETWEEN = """SELECT job_id FROM audit WHERE action = 'claimed' AND at > :accepted
 AND at < (SELECT min(at) FROM audit WHERE action = 'claimed' AND job_id = :job)"""


def stat_behind_routine(ward: Ward, events: int, backlog: int = BACKLOG) -> None:
    _timed(ward)  # the first answer of a process is slower than all others
    alone = [_timed(ward) for _ in range(events)]
    with _backlog(ward, backlog):
        behind = [_timed(ward) for _ in range(events)]
        waiting = ward.count("jobs", "status = 'queued'")
    unloaded, loaded = (median(took for _, took in cases) for cases in (alone, behind))
    waits = sorted(wait for wait, _ in behind)
    ward.figures.append(
        f"STAT, median of {events}: {unloaded:.3f} s with an empty queue, {loaded:.3f} s behind "
        f"{backlog} routine cases ({loaded / unloaded:.2f} times; {waiting} still waited at the end); behind them "
        f"claimed after {median(waits):.3f} s, at most {waits[-1]:.3f} s"
    )


def _timed(ward: Ward) -> tuple[float, float]:
    """Seconds from acceptance to the claim and to the end of one STAT case; nobody is claimed before it."""
    jobs = Jobs(ward.database)
    job_id = ward.submit(ward.request(priority="stat"))
    accepted = ward.now()
    ward.until(lambda: jobs.get(job_id).status.is_terminal, 60)
    job = jobs.get(job_id)
    assert job.status is Status.SUCCEEDED
    ward.problems += [
        f"{other} was claimed before {job_id}, which is STAT and was there already"
        for (other,) in ward.query(CLAIMED_BETWEEN, accepted=accepted, job=job_id)
    ]
    [(claimed,)] = ward.query(CLAIMED, job=job_id)
    claimed = (
        claimed if isinstance(claimed, datetime) else datetime.fromisoformat(claimed).replace(tzinfo=UTC)
    )
    return seconds(job.created_at, claimed), seconds(job.created_at, job.finished_at)


def seconds(begin: datetime, end: datetime | None) -> float:
    assert end is not None
    return (end - begin) / timedelta(seconds=1)


@contextmanager
def _backlog(ward: Ward, size: int):
    """So many routine cases wait while the block lasts; those that still wait then are taken back."""
    jobs = Jobs(ward.database)
    reference = ward.request().images[0].reference
    ids: Sequence[str] = [
        ward.submit(ward.request(images=[{"reference": reference}], endpoints=[])) for _ in range(size)
    ]
    yield
    for job_id in ids:
        jobs.cancel(job_id)


def routine_beside_urgent(ward: Ward, events: int) -> None:
    """As often as `events`, while urgent cases take all there is: it ends soon after its patience does."""
    patience = 60 * float(str(ward.settings["PATIENCE_MINUTES"]))
    jobs = Jobs(ward.database)
    with ward.load(live=100, priority="urgent"):
        time.sleep(1)
        ids = [ward.submit(ward.request()) for _ in range(events)]
        ward.until(lambda: all(jobs.get(job_id).status.is_terminal for job_id in ids), 10 * patience)
        kept_waiting = ward.count("jobs", "status = 'queued'")
    took = [seconds(jobs.get(i).created_at, jobs.get(i).finished_at) for i in ids]
    ward.figures.append(
        f"routine beside an endless stream of urgent cases: {median(took):.1f} s, at most {max(took):.1f} s, "
        f"with a patience of {patience:.0f} s ({kept_waiting} urgent cases waiting)"
    )
    if min(took) < patience / 2:
        ward.problems.append(
            "a routine case went before urgent ones: the load was too small to show anything"
        )
