"""Weather: what a storm is, and how one runs from beginning to end.

In: a storm, an empty database, a folder. Out: one row of the table. What harm is done stands in `storms`;
what is wrong afterwards is the verdict's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.invariants import Verdict
from tests.faults.ward import Ward
from tests.integration.webhooks.receiver import Way
from worker.store.verification import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    fault: str
    blow: Callable[[Ward, int], None]
    #: of the long form and of the short one
    events: int
    short: int
    #: the way the receiver answers; without it, 204
    way: Way | None = None
    ward: dict[str, object] = field(default_factory=dict)
    kind: type[Ward] = Ward
    #: why it cannot be had here; empty when it can
    why_not: Callable[[], str] = lambda: ""
    #: only with a server: SQLite has none that could crash, and no clock but its users'
    needs_server: bool = False
    #: whether every job is to be read once, at its first attempt
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """One row of the table."""

    fault: str
    events: int
    jobs: int
    verdict: Verdict
    recoveries: tuple[float, ...]
    most_attempts: int
    failed: int
    #: lines of the parts' logs in which a worker notices that its lease was lost
    lease_lost: int
    #: statuses of workers that were asked to end
    exits: tuple[int, ...]
    #: what the storm measured besides, a sentence each
    figures: tuple[str, ...]


def weather(
    storm: Storm, url: str, folder: Path, *, events: int, crash: Callable[[], None] | None = None
) -> Weather:
    folder.mkdir(parents=True, exist_ok=True)
    ward = storm.kind(url=url, folder=folder, crash=crash, **storm.ward)
    with ward.open(*([storm.way] if storm.way else [])):
        storm.blow(ward, events)
        ward.settle(90)
        ward.problems += [finding.text for finding in verify(ward.database).findings]
        most_attempts = ward.query("SELECT max(attempt) FROM jobs")[0][0]
        if storm.once and most_attempts > 1:
            ward.problems.append(f"a job was read {most_attempts} times, and nothing had happened to it")
        return Weather(
            fault=storm.fault,
            events=len(ward.events) or events,
            jobs=len(ward.accepted),
            verdict=ward.verdict(),
            recoveries=tuple(sorted(ward.recoveries())),
            most_attempts=most_attempts,
            failed=ward.count("jobs", "status = 'failed'"),
            lease_lost=ward.said("job.lease_lost").count("\n") + bool(ward.said("job.lease_lost")),
            exits=tuple(ward.exits),
            figures=tuple(ward.figures),
        )
