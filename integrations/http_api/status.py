"""Status: what waits, who works, what is told; now, and in the last hour; and the two probes.

In: nothing. Out: counts and ages, no text of a case.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from integrations.http_api.access import Watching
from integrations.http_api.answers import USUAL, answer
from integrations.http_api.documents import Alive, HistoryShown, Ready, StatusShown
from integrations.http_api.state import Api, Parts
from integrations.view import instant, queue_document, worker_document
from worker import __version__
from worker.errors import PathlaneError, StoreUnavailable

router = APIRouter(tags=["status"])


@router.get(
    "/v1/status", response_model=StatusShown, summary="What waits, who works, what is told", responses=USUAL
)
def status(api: Parts, _: Watching) -> Response:
    queue = api.stores.jobs.queue()
    return answer(
        {
            "at": instant(queue.at),
            "version": __version__,
            "queue": queue_document(queue),
            "workers": [worker_document(worker) for worker in api.workers()],
            "deliveries": api.stores.outbox.counts(),
        }
    )


@router.get(
    "/v1/status/history", response_model=HistoryShown, summary="The queue in the last hour", responses=USUAL
)
def history(api: Parts, _: Watching) -> Response:
    """As this gateway has seen it since it began."""
    samples = [{"at": instant(one.at), "queue": queue_document(one)} for one in api.history.samples()]
    return answer({"every_seconds": api.history.seconds, "items": samples})


@router.get("/healthz", response_model=Alive, summary="Whether this process answers")
def healthz() -> Response:
    return answer({"status": "ok"})


@router.get(
    "/readyz", response_model=Ready, summary="Whether it can take jobs, and if not, why",
    responses={503: {"model": Ready, "description": "It cannot."}},
)  # fmt: skip
def readyz(api: Parts) -> Response:
    """`workers` is how many are alive, or null. None is no reason: what is accepted waits for them."""
    reasons = {name: reason for name, check in api.checks.items() if (reason := _reason(check))}
    said = {
        "status": "not ready" if reasons else "ready",
        "reasons": reasons,
        "workers": _workers(api),
    }
    return answer(said, HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK)


def _workers(api: Api) -> int | None:
    try:
        return len(api.workers())
    except StoreUnavailable:
        return None


def _reason(check: Callable[[], Any]) -> str:
    try:
        check()
    except PathlaneError as error:
        return error.public
    return ""
