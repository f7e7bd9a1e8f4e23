"""The outbox: one row for each event and each endpoint that is to be told.

Rows are written in the transaction that ends the job (`tell`); a courier claims one, sends it with no
transaction open, and records what came of it. It knows neither HTTP nor signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection, Row, Select, Table, func, insert, or_, select, update
from ulid import ULID

from worker.errors import EndpointGone, LeaseLost, NotFound, UnknownEndpoint
from worker.jobs.audit import COURIER, UNNAMED, Action
from worker.jobs.event import (
    ANSWER_KEPT,
    EVENT_OF,
    Delivery,
    DeliveryStatus,
    EndpointStatus,
    EventType,
    Outcome,
    body_of_test,
    event_body,
)
from worker.jobs.job import Job
from worker.jobs.reading import Reading
from worker.store.audit import entry, note, note_all
from worker.store.base import stands
from worker.store.due import DUE, DUE_TO, RECORD, deliveries, take
from worker.store.endpoints import endpoint_of, endpoints
from worker.store.session import Database, clock
from worker.store.tables import DeliveryAttemptRow

if TYPE_CHECKING:
    from worker.store.sealing import Seal

attempts = cast("Table", DeliveryAttemptRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryState:
    """A delivery as `show` and the API report it."""

    id: str
    endpoint: str
    event_type: EventType
    status: DeliveryStatus
    attempt: int
    next_at: datetime
    delivered_at: datetime | None
    http_status: int | None
    reason: str | None
    #: None: a test event
    job_id: str | None
    endpoint_id: str
    created_at: datetime


def check_endpoints(connection: Connection, named: Sequence[str] | None) -> None:
    """Raises UnknownEndpoint unless every name or id in `named` can be told."""
    for one in named or ():
        known = select(endpoints.c.id).where(or_(endpoints.c.id == one, endpoints.c.name == one))
        if connection.execute(known.where(endpoints.c.status != EndpointStatus.GONE)).first() is None:
            raise UnknownEndpoint


def tell(connection: Connection, job: Job, reading: Reading | None, *, public_url: str) -> list[str]:
    """Write one delivery for each endpoint that `job`'s end concerns; gives their ids."""
    event_type = EVENT_OF[job.status]
    rows = []
    for row in connection.execute(_subscribers(job.request.endpoints)).all():
        endpoint = endpoint_of(row)
        if event_type not in endpoint.event_types:
            continue
        body = event_body(job, reading, at=row.now, base_url=public_url, payload=endpoint.payload)
        rows.append({
            "id": f"msg_{ULID()}", "job_id": job.id, "endpoint_id": endpoint.id, "event_type": event_type,
            "body": body, "status": DeliveryStatus.PENDING, "attempt": 0,
            "next_at": row.now, "created_at": row.now,
        })  # fmt: skip
    if rows:
        connection.execute(_DELIVER, rows if rows[1:] else rows[0])
    return [str(row["id"]) for row in rows]


#: made once, so that they are compiled once
_LIVE: Final = select(endpoints, clock().label("now")).where(endpoints.c.status != EndpointStatus.GONE)
_WEBHOOKS: Final = _LIVE.where(endpoints.c.url.startswith("http"))
_DELIVER: Final = insert(deliveries)
_ATTEMPTED: Final = insert(attempts).values(at=clock())


def _subscribers(named: Sequence[str] | None) -> Select[Any]:
    """Those that are named, or every webhook: a hospital's system is told only what a rule tells it."""
    if named is None:
        return _WEBHOOKS
    return _LIVE.where(or_(endpoints.c.id.in_(named), endpoints.c.name.in_(named)))


class Outbox:
    def __init__(self, database: Database, seal: Seal | None = None) -> None:
        """Without keys to seal it with, nothing of what a receiver answered is kept."""
        self._database = database
        self._seal = seal

    def test(self, endpoint_id: str, *, actor: str = UNNAMED) -> str:
        """Write a test event for one endpoint, which goes out as any other; gives its id.

        Raises NotFound, EndpointGone. To a paused endpoint it waits.
        """
        with self._database.write() as connection:
            to = connection.execute(
                select(endpoints.c.status, clock().label("now")).where(endpoints.c.id == endpoint_id)
            ).one_or_none()
            if to is None:
                raise NotFound
            if to.status == EndpointStatus.GONE:
                raise EndpointGone
            row = {
                "id": f"msg_{ULID()}", "job_id": None, "endpoint_id": endpoint_id,
                "event_type": EventType.ENDPOINT_TEST, "body": body_of_test(endpoint_id, at=to.now),
                "status": DeliveryStatus.PENDING, "attempt": 0, "next_at": to.now, "created_at": to.now,
            }  # fmt: skip
            connection.execute(_DELIVER, row)
            note(
                connection, Action.ENDPOINT_TESTED, actor=actor, subject_id=endpoint_id, delivery_id=row["id"]
            )
            return str(row["id"])

    def due(self, *, limit: int = 500, endpoint_id: str = "") -> list[str]:
        """Ids of deliveries that may be claimed now, the longest due first; of one endpoint, if named."""
        query, to = (DUE_TO, {"endpoint": endpoint_id}) if endpoint_id else (DUE, {})
        with self._database.read() as connection:
            return list(connection.execute(query, {"most": limit} | to).scalars())

    def claim(self, delivery_id: str, *, lease_seconds: float) -> Delivery | None:
        """Take one delivery for one attempt. None: it is not due, has been taken, or its endpoint is busy."""
        with self._database.once() as connection:
            row = take(connection, delivery_id, lease_seconds=lease_seconds)
        if row is None:
            return None
        return Delivery(
            id=row.of_id, job_id=row.job_id, endpoint=endpoint_of(row, row.now), body=row.body,
            event_type=EventType(row.event_type), attempt=row.attempt, created_at=row.of_created_at,
            traceparent=row.traceparent,
        )  # fmt: skip

    def record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Write down what came of an attempt. Raises LeaseLost when another attempt has begun since."""
        values = {
            "delivery": delivery.id, "of_attempt": delivery.attempt, "becomes": outcome.status,
            "wait": outcome.wait.total_seconds() if outcome.wait else 0.0,
            "answered": outcome.http_status, "why": outcome.reason or None,
        }  # fmt: skip
        with self._database.write() as connection:
            row = connection.execute(RECORD, values).one_or_none()
            if row is None:
                raise LeaseLost
            connection.execute(_ATTEMPTED, self._attempt_row(delivery, outcome))
            if outcome.status is DeliveryStatus.GONE:
                gone = update(endpoints).where(endpoints.c.id == delivery.endpoint.id)
                connection.execute(gone.values(status=EndpointStatus.GONE))
            _note_outcome(connection, delivery, outcome)

    def _attempt_row(self, delivery: Delivery, outcome: Outcome) -> dict[str, Any]:
        answer = outcome.answer[:ANSWER_KEPT]
        return {
            "id": f"try_{ULID()}", "delivery_id": delivery.id, "attempt": delivery.attempt,
            "status": outcome.status, "http_status": outcome.http_status, "reason": outcome.reason or None,
            "sealed_answer": self._seal.close(answer) if self._seal and answer else None,
        }  # fmt: skip

    def replay(self, delivery_id: str, *, actor: str = UNNAMED) -> None:
        """Send again, under the same id, from the first attempt. Raises NotFound."""
        with self._database.write() as connection:
            self._replay(connection, deliveries.c.id == delivery_id, actor)

    def replay_failed(self, *, since: datetime, actor: str = UNNAMED) -> int:
        """Send again everything created since then that was never delivered; gives how many."""
        failed = deliveries.c.status.in_([DeliveryStatus.EXHAUSTED, DeliveryStatus.GONE])
        with self._database.write() as connection:
            try:
                return self._replay(connection, failed & (deliveries.c.created_at >= since), actor)
            except NotFound:
                return 0

    def replay_range(
        self, *, since: datetime, until: datetime, statuses: Sequence[DeliveryStatus],
        endpoint_id: str = "", limit: int = 1000, actor: str = UNNAMED,
    ) -> int:  # fmt: skip
        """Send again what was created from `since` to before `until`, the oldest `limit`; gives how many."""
        which = select(deliveries.c.id).where(deliveries.c.status.in_(statuses))
        which = which.where(deliveries.c.created_at >= since, deliveries.c.created_at < until)
        if endpoint_id:
            which = which.where(deliveries.c.endpoint_id == endpoint_id)
        which = which.order_by(deliveries.c.created_at, deliveries.c.id).limit(limit)
        with self._database.write() as connection:
            ids = connection.execute(which).scalars().all()
            return self._replay(connection, deliveries.c.id.in_(ids), actor) if ids else 0

    def _replay(self, connection: Connection, which: Any, actor: str) -> int:
        again = update(deliveries).where(which).values(
            status=DeliveryStatus.PENDING, attempt=0, next_at=clock(), lease_until=None,
            delivered_at=None, http_status=None, reason=None,
        ).returning(deliveries.c.id, deliveries.c.job_id, deliveries.c.endpoint_id)  # fmt: skip
        rows = connection.execute(again).all()
        if not rows:
            raise NotFound
        note_all(connection, [
            entry(Action.REPLAYED, actor=actor, delivery_id=id_, job_id=job_id, subject_id=endpoint_id)
            for id_, job_id, endpoint_id in rows
        ])  # fmt: skip
        to = {row.endpoint_id for row in rows}
        revived = update(endpoints).where(endpoints.c.id.in_(to), endpoints.c.status == EndpointStatus.GONE)
        connection.execute(revived.values(status=EndpointStatus.ACTIVE))
        return len(rows)

    def forget(self, *, days: float) -> int:
        """Empty what receivers answered longer than `days` ago; gives how many. The attempts stay known."""
        old = update(attempts).where(attempts.c.at < clock(-days * 86_400))
        with self._database.patiently() as connection:
            kept = attempts.c.sealed_answer.is_not(None)
            return connection.execute(old.where(kept).values(sealed_answer=None)).rowcount

    def of_job(self, job_id: str) -> list[DeliveryState]:
        query = states().where(deliveries.c.job_id == job_id)
        with self._database.read() as connection:
            return [state_of(row) for row in connection.execute(query.order_by(deliveries.c.created_at))]

    def counts(self) -> dict[str, int]:
        """`due` now, `failing` (tried at least once, still pending), `exhausted`."""
        pending = stands(deliveries.c.status, DeliveryStatus.PENDING)
        which = (
            pending & (deliveries.c.next_at <= clock()),
            pending & (deliveries.c.attempt > 0),
            stands(deliveries.c.status, DeliveryStatus.EXHAUSTED),
        )
        # Each from an index of its own: what was delivered is not looked at.
        query = select(
            *(select(func.count()).select_from(deliveries).where(w).scalar_subquery() for w in which)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one()
        return dict(zip(("due", "failing", "exhausted"), map(int, row), strict=True))


def _note_outcome(connection: Connection, delivery: Delivery, outcome: Outcome) -> None:
    """Attempts that are tried again are no news."""
    if outcome.status is DeliveryStatus.PENDING:
        return
    action = Action.DELIVERED if outcome.status is DeliveryStatus.DELIVERED else Action.GIVEN_UP
    note(
        connection, action, actor=COURIER, job_id=delivery.job_id, delivery_id=delivery.id,
        subject_id=delivery.endpoint.id, attempt=delivery.attempt, code=outcome.reason or None,
    )  # fmt: skip


def states() -> Select[Any]:
    """Rows for `state_of`: everything but the body."""
    columns = [column for column in deliveries.c if column.name not in {"body", "lease_until"}]
    return select(*columns, endpoints.c.name).join(endpoints)


def state_of(row: Row[Any]) -> DeliveryState:
    return DeliveryState(
        id=row.id, endpoint=row.name, event_type=EventType(row.event_type), status=DeliveryStatus(row.status),
        attempt=row.attempt, next_at=row.next_at, delivered_at=row.delivered_at, http_status=row.http_status,
        reason=row.reason, job_id=row.job_id, endpoint_id=row.endpoint_id, created_at=row.created_at,
    )  # fmt: skip
