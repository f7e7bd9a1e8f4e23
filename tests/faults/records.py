"""Records: what was written down while a storm blew, and what it says.

In: the lines of the quick workers, deaths, blows and ends. Out: who was in the model when, and how long each blow
was felt. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.invariants import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fault, and the jobs that it could have harmed."""

    #: seconds since 1970, as the database of the same machine counts them
    at: float
    jobs: tuple[str, ...]
    #: whether one process was hit, and these are the jobs whose leases it held
    held: bool


def recoveries(
    events: Iterable[Event], given_back: Mapping[str, Sequence[float]], ended: Mapping[str, float]
) -> list[float]:
    """For each event, in seconds: how long until the last job that its process held was back in the queue or had
    ended; where no one process was hit, until the last of all jobs had ended.
    """
    never = float("inf")

    def over(event: Event, job_id: str) -> float:
        times = given_back.get(job_id, ()) if event.held else (ended.get(job_id, never),)
        return min((at for at in times if at >= event.at or not event.held), default=never)

    return [
        max(0.0, max(over(event, job_id) for job_id in event.jobs) - event.at)
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
