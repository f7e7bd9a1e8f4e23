"""Records: what was written down while a storm blew, and what it says.

In: the lines of the quick workers, deaths, blows and ends. Out: who was in the model when, and how long each blow
was felt. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.faults.invariants import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fault, and the jobs that it could have harmed."""

    #: seconds since 1970, as the database of the same machine counts them
    at: float
    jobs: tuple[str, ...]


def recoveries(events: Iterable[Event], ended: Mapping[str, float]) -> list[float]:
    """For each event: how long until the last of the jobs it could have harmed had ended, in seconds."""
    return [
        max(0.0, max(ended.get(job_id, float("inf")) for job_id in event.jobs) - event.at)
        for event in events
        if event.jobs
    ]


def holders(lines: str, deaths: Mapping[int, float]) -> list[Holder]:
    """Of lines `pid time change`; a death that a process announces itself is a change `dies`."""
    found, inside, died = [], Counter[int](), dict(deaths)
    for line in lines.splitlines():
        pid, at, change = line.split()
        if change == "dies":
            died[int(pid)] = float(at)
            continue
        found.append(Holder(at=float(at), change=int(change)))
        inside[int(pid)] += int(change)
    # Who died inside left when it died: that is when the kernel let go of its slots.
    return found + [
        Holder(at=died[pid], change=-left) for pid, left in inside.items() if left and pid in died
    ]
