"""Backlog: how many jobs wait, known well enough to say no before there are too many.

In: a limit, and connections of other people's transactions. Out: QueueFull, or nothing. It refuses new jobs
only: what has been accepted goes back to the queue whatever the limit is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from sqlalchemy import Connection, Table, func, literal, select

from worker.errors import QueueFull
from worker.jobs.job import Status
from worker.jobs.request import Priority
from worker.store.base import stands
from worker.store.session import clock
from worker.store.tables import JobRow

#: Percent of the limit that may wait before a priority is refused. A new routine job behind so many would
#: be read last of all, so it is the one that loses least by waiting at its sender's. A fifth is kept for
#: what is more urgent, and a quarter of that for STAT alone.
SHARES: Final = {Priority.ROUTINE: 80, Priority.URGENT: 95, Priority.STAT: 100}
#: when to ask again, in seconds; the more urgent, the sooner
ASK_AGAIN: Final = {Priority.ROUTINE: 60, Priority.URGENT: 15, Priority.STAT: 5}
#: a count is believed for so long
FRESH_SECONDS: Final = 1.0

jobs = cast("Table", JobRow.__table__)
_LIVE: Final = [Status.QUEUED, Status.RUNNING]


class Backlog:
    """One for each process. Counting stops at the limit, and happens once a second, not once a job.

    Between two counts this process adds what it accepts itself and takes nothing away, so that one gateway
    keeps the limit; each further one may go over it by what it accepts within a second.
    """

    def __init__(self, limit: int, *, now: Callable[[], float] = time.monotonic) -> None:
        """No limit when it is 0."""
        self._limit = limit
        self._now = now
        self._waiting = 0
        self._counted_at = float("-inf")
        self._lock = threading.Lock()

    def admit(self, connection: Connection, priority: Priority) -> None:
        """Before a new job, in its transaction. Raises QueueFull."""
        if not self._limit:
            return
        with self._lock:
            is_stale = self._now() - self._counted_at >= FRESH_SECONDS
            if is_stale:  # nobody else counts meanwhile
                self._counted_at = self._now()
        if is_stale:
            self._count(connection)
        with self._lock:
            if self._waiting >= -(-self._limit * SHARES[priority] // 100):
                raise QueueFull(retry_seconds=ASK_AGAIN[priority])
            self._waiting += 1

    def _count(self, connection: Connection) -> None:
        """On the caller's own connection: a second one may not be had while a pool is used up."""
        # The level is always so: it makes SQLite enter the index of claims, not walk through another.
        queued = select(literal(1)).where(stands(jobs.c.status, Status.QUEUED), jobs.c.level >= 0)
        queued = queued.limit(self._limit)
        waiting = connection.execute(select(func.count()).select_from(queued.subquery())).scalar_one()
        with self._lock:
            self._waiting = waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits and runs, by priority as it was asked for."""

    at: datetime
    queued: dict[Priority, int]
    #: how long the oldest queued job has waited, in seconds; None where none waits
    oldest: dict[Priority, float | None]
    running: dict[Priority, int]


def queue(connection: Connection) -> Queue:
    """In one query, from the index of lists."""
    c = jobs.c
    query = select(c.status, c.asked_level, func.count(), func.min(c.created_at))
    levels = [priority.level for priority in Priority]  # so that the index is entered, not walked through
    query = query.where(c.asked_level.in_(levels), c.status.in_(_LIVE)).group_by(c.status, c.asked_level)
    now = connection.execute(select(clock())).scalar_one()
    found = Queue(
        at=now,
        queued=dict.fromkeys(Priority, 0),
        oldest=dict.fromkeys(Priority),
        running=dict.fromkeys(Priority, 0),
    )
    for status, level, number, oldest in connection.execute(query):
        priority = tuple(Priority)[level]
        if status == Status.RUNNING:
            found.running[priority] = number
        else:
            found.queued[priority] = number
            found.oldest[priority] = max(0.0, (now - oldest).total_seconds())
    return found


def depth(connection: Connection) -> dict[str, int]:
    """Queued and running jobs: `stat`, `urgent`, `routine` as they were asked for, and `running`."""
    found = queue(connection)
    waiting = {priority.value: number for priority, number in found.queued.items()}
    return waiting | {"running": sum(found.running.values())}
