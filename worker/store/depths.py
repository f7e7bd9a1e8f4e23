"""Depths: how much waits and for how long, for whoever watches.

In: nothing. Out: one value, read in one transaction. Jobs count by the priority they were asked for, as in
`backlog.queue`; a count is as old as its reader lets it be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, Table, func, select

from worker.jobs.event import DeliveryStatus, EndpointStatus
from worker.jobs.request import Priority
from worker.store.backlog import queue
from worker.store.base import stands
from worker.store.session import Database, clock
from worker.store.tables import DeliveryRow, EndpointRow

deliveries = cast("Table", DeliveryRow.__table__)
endpoints = cast("Table", EndpointRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """Ages in seconds by the database's clock, 0 where nothing waits."""

    queued: Mapping[Priority, int]
    oldest: Mapping[Priority, float]
    running: int
    #: deliveries that may be sent now
    due: int
    oldest_due: float
    #: tried at least once, and not given up
    failing: int


class Depths:
    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Depth:
        """Raises StoreUnavailable."""
        with self._database.read() as connection:
            found = queue(connection)
            due, first, failing = _deliveries(connection)
            return Depth(
                queued=found.queued,
                oldest={priority: age or 0.0 for priority, age in found.oldest.items()},
                running=sum(found.running.values()),
                due=due,
                oldest_due=_age(found.at, first),
                failing=failing,
            )


def _deliveries(connection: Connection) -> tuple[int, datetime | None, int]:
    """How many are due, when the first of them was, how many have failed before. Paused endpoints wait."""
    is_due = deliveries.c.next_at <= clock()
    query = (
        select(
            func.count().filter(is_due),
            func.min(deliveries.c.next_at).filter(is_due),
            func.count().filter(deliveries.c.attempt > 0),
        )
        .join_from(deliveries, endpoints)
        .where(stands(deliveries.c.status, DeliveryStatus.PENDING))
        .where(endpoints.c.status == EndpointStatus.ACTIVE)
    )
    due, first, failing = connection.execute(query).one()
    return due, first, failing


def _age(now: datetime, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
