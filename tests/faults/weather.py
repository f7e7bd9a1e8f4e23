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
    #: what is put up for it
    kind: type[Ward] = Ward
    #: it crashes the server: SQLite has none
    needs_server: bool = False


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


def weather(
    storm: Storm, url: str, folder: Path, *, events: int, crash: Callable[[], None] | None = None
) -> Weather:
    folder.mkdir(parents=True, exist_ok=True)
    ward = storm.kind(url=url, folder=folder, crash=crash, **storm.ward)
    with ward.open(*([storm.way] if storm.way else [])):
        storm.blow(ward, events)
        ward.settle(90)
        return Weather(
            fault=storm.fault,
            events=max(len(ward.events), events if storm.way else 0),
            jobs=len(ward.accepted),
            verdict=ward.verdict(),
            recoveries=tuple(sorted(ward.recoveries())),
            most_attempts=ward.query("SELECT max(attempt) FROM jobs")[0][0],
            failed=ward.count("jobs", "status = 'failed'"),
            lease_lost=ward.said("job.lease_lost").count("\n") + bool(ward.said("job.lease_lost")),
        )
