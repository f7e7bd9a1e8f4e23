"""Events: what becomes of jobs, as server-sent events. Ids, statuses and priorities; no text of a case.

In: the feed, and what a client heard last. Out: `text/event-stream`. A stream ends after a while, at the end
of the process, or when its client is too slow; a client comes back with `Last-Event-ID` and misses nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from integrations.http_api.access import Reading
from integrations.http_api.answers import EVENTS, answers
from integrations.http_api.documents import JobId
from integrations.http_api.feed import Feed, Listener
from integrations.http_api.state import Api, Parts
from integrations.view import instant
from worker.errors import NotFound
from worker.store.changes import Change

#: something is sent at least so often, so that nothing on the way takes the stream for dead
HEARTBEAT_SECONDS: Final = 15.0
#: when a client should come back, in milliseconds
COME_BACK: Final = 1000

router = APIRouter(tags=["events"])

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The `id` of the last event that was heard.")
]


@router.get(
    "/v1/events", summary="What becomes of all jobs", response_class=StreamingResponse,
    responses=EVENTS | answers(401, 403, 422, 429, 503),
)  # fmt: skip
async def worklist_events(api: Parts, _: Reading, last_event_id: LastEventId = None) -> Response:
    """`event: job` for each change; `event: reset` when some were missed: read the list anew."""
    listener = await api.feed.listen()
    try:
        missed = await api.feed.missed(last_event_id) if last_event_id else ()
    except BaseException:
        api.feed.leave(listener)
        raise
    return EventStream(api, listener, missed)


@router.get(
    "/v1/jobs/{job_id}/events", summary="What becomes of one job", response_class=StreamingResponse,
    responses=EVENTS | answers(401, 403, 404, 422, 429, 503)
    | {204: {"description": "It has ended, and all of it was heard: do not come back."}},
)  # fmt: skip
async def job_events(job_id: JobId, api: Parts, _: Reading, last_event_id: LastEventId = None) -> Response:
    """How it stands, then each change; the stream ends with the job."""
    listener = await api.feed.listen(job_id)
    try:
        now = await run_in_threadpool(_now, api, job_id)
        if last_event_id == now.id and now.status.is_terminal:
            api.feed.leave(listener)
            return Response(status_code=HTTPStatus.NO_CONTENT)
        missed = await api.feed.missed(last_event_id, job_id) if last_event_id else None
    except BaseException:
        api.feed.leave(listener)
        raise
    return EventStream(api, listener, missed or (now,), until_the_end=True)


def _now(api: Api, job_id: str) -> Change:
    """Raises NotFound."""
    latest = api.stores.changes.latest(job_id)
    if latest is None:
        raise NotFound
    return latest


class EventStream(StreamingResponse):
    """Leaves the feed however it ends."""

    media_type = "text/event-stream"

    def __init__(
        self, api: Api, listener: Listener, missed: Sequence[Change] | None, *, until_the_end: bool = False
    ) -> None:
        self._feed: Feed = api.feed
        self._listener = listener
        events = _events(listener, missed, seconds=api.stream_seconds, until_the_end=until_the_end)
        # `X-Accel-Buffering` keeps nginx from holding events back.
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._listener)


async def _events(
    listener: Listener, missed: Sequence[Change] | None, *, seconds: float, until_the_end: bool
) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    yield format_sse_event(retry=COME_BACK)
    if missed is None:
        yield format_sse_event(event="reset", data_str="{}")
    for change in missed or ():
        yield event_of(change)
        if until_the_end and change.status.is_terminal:
            return
    change: Change | None
    while (left := end - clock()) > 0:
        try:
            change = await asyncio.wait_for(listener.next(), min(left, HEARTBEAT_SECONDS))
        except TimeoutError:
            yield format_sse_event(comment="")
            continue
        if change is None:
            return
        yield event_of(change)
        if until_the_end and change.status.is_terminal:
            return


def event_of(change: Change) -> bytes:
    return format_sse_event(event="job", id=change.id, data_str=json.dumps(_document(change)))


def _document(change: Change) -> dict[str, Any]:
    return {
        "id": change.job_id,
        "status": change.status.value,
        "priority": change.priority.value,
        "attempt": change.attempt,
        "change": change.action.value,
        "at": instant(change.at),
    }
