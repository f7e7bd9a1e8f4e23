"""Notifications: a FHIR server says that something has changed.

In: what it sends. Out: 204 once what it tells is in the store.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from integrations.http_api.answers import answers
from integrations.http_api.state import Parts
from worker.errors import NotFound

router = APIRouter(tags=["hospital systems"])


@router.post(
    "/v1/fhir/notifications", status_code=HTTPStatus.NO_CONTENT, summary="A FHIR subscription's notification",
    responses=answers(401, 404, 413, 422, 429, 503),
    openapi_extra={"requestBody": {"content": {"application/fhir+json": {"schema": {"type": "object"}}}}},
)  # fmt: skip
async def notification(request: Request, api: Parts) -> Response:
    """204 once what it tells is in the store. The subscription's own secret lets it in, not an API key."""
    if api.notified is None:
        raise NotFound
    body = await request.body()
    await run_in_threadpool(api.notified, dict(request.headers), body)
    return Response(status_code=HTTPStatus.NO_CONTENT)
