"""Presence: which workers are alive, on which device, with how many slots in use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, delete, insert, select, update

from worker.store.session import Database, clock
from worker.store.tables import WorkerRow

workers = cast("Table", WorkerRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    #: host, process and a random part: never used twice
    id: str
    host: str
    pid: int
    device: str
    model: str
    slots: int
    running: int
    started_at: datetime | None = None
    seen_at: datetime | None = None


class Workers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self, presence: Presence) -> None:
        """Say that this worker is alive, and forget those that have been silent for an hour."""
        seen = {"running": presence.running, "seen_at": clock()}
        with self._database.write() as connection:
            here = update(workers).where(workers.c.id == presence.id).values(seen).returning(workers.c.id)
            if connection.execute(here).one_or_none() is None:
                row = {
                    "id": presence.id, "host": presence.host, "pid": presence.pid, "device": presence.device,
                    "model": presence.model, "slots": presence.slots, "started_at": clock(),
                }  # fmt: skip
                connection.execute(insert(workers).values(row | seen))
            connection.execute(delete(workers).where(workers.c.seen_at < clock(-3600)))

    def leave(self, worker_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(workers).where(workers.c.id == worker_id))

    def alive(self, *, within_seconds: float) -> list[Presence]:
        """Workers that reported within that time, the oldest first."""
        query = select(workers).where(workers.c.seen_at >= clock(-within_seconds))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(workers.c.started_at, workers.c.id)).mappings()
            return [Presence(**row) for row in rows]
