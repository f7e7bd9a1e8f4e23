"""Deliveries: what was told to whom, what came of each attempt, and once more from the first attempt.

In: filters, ids, ranges. Out: states; what receivers answered. Who is given answers is written down.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field

from integrations.http_api.access import Operating
from integrations.http_api.answers import USUAL, answer, answers
from integrations.http_api.cursors import cursor_of, list_name, position_of
from integrations.http_api.documents import (
    AttemptList,
    Cursor,
    DeliveryId,
    DeliveryPage,
    DeliveryShown,
    Given,
    Named,
    Replayed,
)
from integrations.http_api.state import Parts
from integrations.view import attempt_document, delivery_document
from worker.jobs.event import DeliveryStatus
from worker.jobs.request import Moment

MOST_REPLAYED: Final = 1000
_FAILED: Final = (DeliveryStatus.EXHAUSTED, DeliveryStatus.GONE)

router = APIRouter(tags=["deliveries"])


class DeliveriesQuery(Given):
    status: Annotated[list[DeliveryStatus], Field(max_length=5, default_factory=list)]
    endpoint_id: Named | None = None
    job_id: Named | None = None
    cursor: Cursor = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Range(Given):
    """Deliveries created from `since` to before `until`."""

    since: Moment
    until: Moment
    endpoint_id: Named | None = None
    status: Annotated[
        list[DeliveryStatus],
        Field(
            min_length=1, max_length=4, default_factory=lambda: list(_FAILED),
            description="Which of them; those that failed, unless it says more.",
            json_schema_extra={
                "items": {"enum": [s.value for s in DeliveryStatus if s is not DeliveryStatus.PENDING]}
            },
        ),
    ]  # fmt: skip


@router.get(
    "/v1/deliveries", response_model=DeliveryPage, summary="Deliveries, page by page", responses=USUAL
)
def list_deliveries(asked: Annotated[DeliveriesQuery, Query()], api: Parts, _: Operating) -> Response:
    """The newest first."""
    statuses = tuple(dict.fromkeys(asked.status))
    name = list_name("deliveries", statuses=statuses, endpoint=asked.endpoint_id, job=asked.job_id)
    page = api.stores.deliveries.page(
        statuses=statuses, endpoint_id=asked.endpoint_id or "", job_id=asked.job_id or "",
        after=position_of(asked.cursor, name), limit=asked.limit,
    )  # fmt: skip
    return answer(
        {"items": [delivery_document(one) for one in page.items], "next": cursor_of(page.end, name)}
    )


@router.post(
    "/v1/deliveries/replay", status_code=HTTPStatus.ACCEPTED, response_model=Replayed,
    summary="Send a range again", responses=USUAL,
)  # fmt: skip
def replay_range(body: Range, api: Parts, asker: Operating) -> Response:
    """Under their old ids, from the first attempt; at most a thousand at a time, the oldest first."""
    statuses = [status for status in body.status if status is not DeliveryStatus.PENDING]
    count = api.stores.outbox.replay_range(
        since=body.since, until=body.until, statuses=statuses, endpoint_id=body.endpoint_id or "",
        limit=MOST_REPLAYED, actor=asker.actor,
    )  # fmt: skip
    return answer({"count": count, "more": count == MOST_REPLAYED}, HTTPStatus.ACCEPTED)


@router.get(
    "/v1/deliveries/{delivery_id}", response_model=DeliveryShown, summary="One delivery",
    responses=USUAL | answers(404),
)  # fmt: skip
def get_delivery(delivery_id: DeliveryId, api: Parts, _: Operating) -> Response:
    return answer(delivery_document(api.stores.deliveries.get(delivery_id)))


@router.get(
    "/v1/deliveries/{delivery_id}/attempts", response_model=AttemptList, summary="What came of each attempt",
    responses=USUAL | answers(404),
)  # fmt: skip
def list_attempts(delivery_id: DeliveryId, api: Parts, asker: Operating) -> Response:
    """The oldest first. What a receiver answered may hold text of a case: who is given it is written down."""
    found = api.stores.deliveries.attempts(delivery_id, actor=asker.actor)
    return answer({"items": [attempt_document(one) for one in found]}, headers={"Cache-Control": "no-store"})


@router.post(
    "/v1/deliveries/{delivery_id}/replay", status_code=HTTPStatus.ACCEPTED, response_model=DeliveryShown,
    summary="Send one again", responses=USUAL | answers(404),
)  # fmt: skip
def replay_delivery(delivery_id: DeliveryId, api: Parts, asker: Operating) -> Response:
    """Under its old id, from the first attempt."""
    api.stores.outbox.replay(delivery_id, actor=asker.actor)
    return answer(delivery_document(api.stores.deliveries.get(delivery_id)), HTTPStatus.ACCEPTED)
