"""Deliveries as an operator looks at them: page by page, one by one, attempt by attempt.

In: filters, positions, ids. Out: their states, and what receivers answered, opened. It changes nothing but
the audit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select, tuple_, union_all

from worker.errors import NotFound
from worker.jobs.audit import Action
from worker.jobs.event import DeliveryStatus
from worker.store.audit import note
from worker.store.base import stands
from worker.store.due import deliveries
from worker.store.outbox import DeliveryState, attempts, state_of, states
from worker.store.pages import Page, Position
from worker.store.session import Database

if TYPE_CHECKING:
    from worker.store.sealing import Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of one attempt."""

    #: from 1; begins again with a replay
    attempt: int
    at: datetime
    #: what the delivery was after it
    status: DeliveryStatus
    http_status: int | None
    reason: str | None
    #: the first kilobyte of what the receiver answered; None where nothing was kept
    answer: str | None = field(repr=False)


class Deliveries:
    def __init__(self, database: Database, seal: Seal | None = None) -> None:
        self._database = database
        self._seal = seal

    def page(
        self, *, statuses: Sequence[DeliveryStatus] = (), endpoint_id: str = "", job_id: str = "",
        after: Position | None = None, limit: int,
    ) -> Page[DeliveryState]:  # fmt: skip
        """The newest first."""
        c = deliveries.c
        where = [c.endpoint_id == endpoint_id] if endpoint_id else []
        where += [c.job_id == job_id] if job_id else []
        if after is not None:
            where.append(tuple_(c.created_at, c.id) < (after.created_at, after.id))
        newest = (c.created_at.desc(), c.id.desc())
        # One branch for each status, so that the index gives each in order and the page is merged from them.
        branches = [
            select(c.id, c.created_at)
            .where(stands(c.status, status), *where)
            .order_by(*newest)
            .limit(limit + 1)
            for status in statuses or DeliveryStatus
        ]
        every = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
        chosen = select(every.c.id).order_by(every.c.created_at.desc(), every.c.id.desc()).limit(limit + 1)
        with self._database.read() as connection:
            rows = connection.execute(states().where(c.id.in_(chosen)).order_by(*newest)).all()
        items = tuple(state_of(row) for row in rows[:limit])
        end = Position(items[-1].created_at, items[-1].id) if len(rows) > limit else None
        return Page(items=items, end=end)

    def get(self, delivery_id: str) -> DeliveryState:
        """Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(states().where(deliveries.c.id == delivery_id)).one_or_none()
        if row is None:
            raise NotFound
        return state_of(row)

    def attempts(self, delivery_id: str, *, actor: str) -> list[Attempt]:
        """The oldest first. Who is given answers is written down first. Raises NotFound, SealBroken."""
        state = self.get(delivery_id)
        query = select(attempts).where(attempts.c.delivery_id == delivery_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(attempts.c.at, attempts.c.id)).all()
        found = [self._attempt(row) for row in rows]
        if any(one.answer is not None for one in found):
            about = {"job_id": state.job_id, "delivery_id": delivery_id, "subject_id": state.endpoint_id}
            with self._database.write() as connection:
                note(connection, Action.ANSWERS_READ, actor=actor, **about)
        return found

    def _attempt(self, row: Row[Any]) -> Attempt:
        answer = None
        if self._seal is not None and row.sealed_answer is not None:
            answer = self._seal.open(row.sealed_answer).decode(errors="replace")
        return Attempt(
            attempt=row.attempt, at=row.at, status=DeliveryStatus(row.status), http_status=row.http_status,
            reason=row.reason, answer=answer,
        )  # fmt: skip
