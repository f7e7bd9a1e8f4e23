"""Errors as RFC 9457 problem documents: a code, a sentence, and the fields that are wrong.

In: the error tree, and what the framework raises. Out: `application/problem+json`. A problem never repeats
what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from integrations import account
from integrations.http_api.answers import PROBLEM
from integrations.http_api.documents import names_of_fields
from worker import log
from worker.errors import (
    BodyTooLarge,
    DiskFull,
    EndpointGone,
    IdempotencyConflict,
    ImageTooLarge,
    InputError,
    InternalError,
    InvalidRequest,
    NameTaken,
    NoReading,
    NotAllowed,
    NotEnded,
    NotFound,
    PathlaneError,
    QueueFull,
    RateLimited,
    ScopeMissing,
    TransientError,
    UnknownEndpoint,
)
from worker.jobs.request import problems_from

#: routes that make jobs: what they refuse is counted
SUBMISSIONS: Final = frozenset({"/v1/jobs", "/v1/jobs/batch", "/v1/jobs/{job_id}/rerun"})

logger = log.get(__name__)

#: the nearest class decides
STATUSES: dict[type[PathlaneError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownEndpoint: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyConflict: HTTPStatus.CONFLICT,
    NameTaken: HTTPStatus.CONFLICT,
    NotEnded: HTTPStatus.CONFLICT,
    NoReading: HTTPStatus.CONFLICT,
    EndpointGone: HTTPStatus.CONFLICT,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NotAllowed: HTTPStatus.UNAUTHORIZED,
    ScopeMissing: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    InputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    QueueFull: HTTPStatus.TOO_MANY_REQUESTS,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    DiskFull: HTTPStatus.INSUFFICIENT_STORAGE,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
    PathlaneError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

FIELD_OF: dict[type[PathlaneError], str] = {
    UnknownEndpoint: "endpoints",
    IdempotencyConflict: "idempotency_key",
}


CHALLENGES: dict[HTTPStatus, str] = {
    HTTPStatus.UNAUTHORIZED: "Bearer",
    HTTPStatus.FORBIDDEN: 'Bearer error="insufficient_scope"',
}


def problem_document(error: PathlaneError) -> dict[str, Any]:
    status = _status(error)
    body: dict[str, Any] = {
        "type": f"urn:pathlane:error:{error.code}",
        "title": status.phrase,
        "status": status.value,
        "code": error.code,
        "detail": error.public,
    }
    errors = getattr(error, "problems", ()) or _named_field(error)
    if errors:
        body["errors"] = [{"field": field, "reason": reason} for field, reason in errors]
    return body


def problem(error: PathlaneError) -> JSONResponse:
    status = _status(error)
    headers = {"WWW-Authenticate": CHALLENGES[status]} if status in CHALLENGES else {}
    if isinstance(error, TransientError):
        headers["Retry-After"] = str(error.retry_seconds)
    return JSONResponse(problem_document(error), status.value, headers, media_type=PROBLEM)


def _status(error: PathlaneError) -> HTTPStatus:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def _named_field(error: PathlaneError) -> tuple[tuple[str, str], ...]:
    field = FIELD_OF.get(type(error))
    return ((field, error.public),) if field else ()


def _of_http(status_code: int) -> dict[str, Any]:
    """What the framework says: no such path, or not this method."""
    status = HTTPStatus(status_code)
    code = status.phrase.lower().replace(" ", "_")
    return {
        "type": f"urn:pathlane:error:{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": f"{status.description}.",
    }


def is_submission(request: Request) -> bool:
    return request.method == "POST" and getattr(request.scope.get("route"), "path", "") in SUBMISSIONS


def install(app: FastAPI, methods_at: Callable[[str], Sequence[str]]) -> None:
    """Answer every error of this application with a problem document.

    `methods_at` says which methods a path has: the framework names those of one route only.
    """
    names = names_of_fields()

    @app.exception_handler(PathlaneError)
    def _pathlane(request: Request, error: PathlaneError) -> JSONResponse:
        if is_submission(request):
            account.refused(error, channel="http")
        return problem(error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _pathlane(request, InvalidRequest(problems_from(error.errors(), names=names)))

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # the framework could not decode the body
            return _pathlane(request, InvalidRequest((("body", "is not JSON"),)))
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(methods_at(request.url.path))
        return JSONResponse(_of_http(error.status_code), error.status_code, headers, media_type=PROBLEM)

    @app.exception_handler(Exception)
    def _unforeseen(_: Request, error: Exception) -> JSONResponse:
        logger.error("request.error", **log.kind_and_place(error))
        return problem(InternalError())
