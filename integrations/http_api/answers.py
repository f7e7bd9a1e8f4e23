"""Answers: what each route may answer, as its description says it.

In: statuses. Out: the `responses` of a route; and the one way an answer is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.responses import JSONResponse

PROBLEM: Final = "application/problem+json"
_PROBLEM_CONTENT: Final = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RETRY: Final = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
}
_WHY: Final = {
    401: "No valid API key.",
    403: "The key lacks the scope.",
    404: "There is nothing under this id.",
    409: "It does not go with what is there.",
    413: "Too large.",
    422: "Not valid; `errors` names the fields.",
    429: "Too often, or the queue is full.",
    503: "The database does not answer just now.",
    507: "No room on the disk just now.",
}

#: one event of a stream, as its fields are read
_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"enum": ["job", "reset"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string"},
    },
    "required": ["event", "data"],
}

EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events.",
        "content": {
            "text/event-stream": {
                "schema": _EVENT,
                "example": 'event: job\ndata: {"id": "job_01ARZ3NDEKTSV4RRFFQ69G5FAV", "status": "running", '
                '"priority": "stat", "attempt": 1, "change": "claimed", "at": "2026-11-24T09:00:00.000Z"}\n'
                "id: audit_01ARZ3NDEKTSV4RRFFQ69G5FAW\n\n",
            }
        },
    }
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Of problems."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        described[status] = {"description": _WHY[status], "content": _PROBLEM_CONTENT}
        if status in {429, 503, 507}:
            described[status]["headers"] = _RETRY
    return described


#: of every route that looks at a key and at the store
USUAL: Final = answers(401, 403, 413, 422, 429, 503)


def answer(
    document: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """As it is: a test holds it to the description, so that it is not checked on each way out."""
    return JSONResponse(document, status, headers)
