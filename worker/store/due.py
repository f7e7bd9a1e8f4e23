"""Due: which deliveries may be attempted now, how one is taken, and how its attempt ends.

In: the tables. Out: statements that are made once and so compiled once, for `worker.store.outbox` executes
them for every case that ends. It opens no transaction and knows no Delivery.
"""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import (
    Connection,
    Double,
    FromClause,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from worker.jobs.event import DeliveryStatus, EndpointStatus
from worker.store.base import stands
from worker.store.endpoints import endpoints
from worker.store.job_rows import jobs
from worker.store.session import clock
from worker.store.tables import DeliveryRow

#: attempts in flight to one endpoint, so that a slow receiver does not hold up the others; one over HL7
IN_FLIGHT_PER_ENDPOINT = 4

deliveries = cast("Table", DeliveryRow.__table__)


def take(connection: Connection, delivery_id: str, *, lease_seconds: float) -> Row[Any] | None:
    """Lease one that is due, for one attempt; gives it beside its endpoint, or None.

    The delivery's own columns are `of_id`, `of_created_at`, and by their names where an endpoint has no such.
    PostgreSQL does it in one statement; SQLite, which knows none that changes and joins, in two.
    """
    values = {"delivery": delivery_id, "lease": lease_seconds}
    if connection.dialect.name == "postgresql":
        return connection.execute(_TAKEN, values).one_or_none()
    if connection.execute(_TAKE, values).one_or_none() is None:
        return None
    return connection.execute(_ABOUT, {"delivery": delivery_id}).one()


def _claimable() -> tuple[Any, ...]:
    other = deliveries.alias("other")
    in_flight = (
        select(func.count())
        .where(other.c.endpoint_id == deliveries.c.endpoint_id, other.c.lease_until > clock())
        .correlate(deliveries)
        .scalar_subquery()
    )
    return (
        stands(deliveries.c.status, DeliveryStatus.PENDING),
        deliveries.c.next_at <= clock(),
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < clock()),
        endpoints.c.status == EndpointStatus.ACTIVE,
        in_flight < case((endpoints.c.url.startswith("mllp"), 1), else_=IN_FLIGHT_PER_ENDPOINT),
    )


def _about(taken: FromClause) -> Select[Any]:
    """One row of `taken` beside its endpoint, and the trace of the job that it tells of."""
    own = taken.c
    return (
        select(own.id.label("of_id"), own.job_id, own.event_type, own.body, own.attempt)
        .add_columns(own.created_at.label("of_created_at"), jobs.c.traceparent, clock().label("now"))
        .add_columns(*(column for column in endpoints.c if column.name != "created_at"))
        .join_from(taken, endpoints, endpoints.c.id == own.endpoint_id)
        .outerjoin(jobs, jobs.c.id == own.job_id)  # a test event tells of no job
    )


_DUE: Final = select(deliveries.c.id).join(endpoints).where(*_claimable())
#: ids, the longest due first: `most` of them
DUE: Final = _DUE.order_by(deliveries.c.next_at).limit(bindparam("most"))
#: the same, of one `endpoint`
DUE_TO: Final = DUE.where(deliveries.c.endpoint_id == bindparam("endpoint"))
_ONE: Final = _DUE.where(deliveries.c.id == bindparam("delivery"))
_TAKE: Final = (
    update(deliveries)
    .where(deliveries.c.id == _ONE.with_for_update(skip_locked=True, of=deliveries).scalar_subquery())
    .values(attempt=deliveries.c.attempt + 1, lease_until=clock(bindparam("lease", type_=Double)))
    .returning(deliveries)
)
_TAKEN: Final = _about(_TAKE.cte("taken"))
_ABOUT: Final = _about(deliveries).where(deliveries.c.id == bindparam("delivery"))
#: write down what came of an attempt; no row: another has begun since
RECORD: Final = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"), deliveries.c.attempt == bindparam("of_attempt"))
    .where(stands(deliveries.c.status, DeliveryStatus.PENDING), deliveries.c.lease_until.is_not(None))
    .values(status=bindparam("becomes"), lease_until=None, next_at=clock(bindparam("wait", type_=Double)))
    .values(http_status=bindparam("answered"), reason=bindparam("why"))
    .values(
        delivered_at=case((bindparam("becomes", type_=Text) == DeliveryStatus.DELIVERED, clock()), else_=None)
    )
    .returning(deliveries.c.id)
)
