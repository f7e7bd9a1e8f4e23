"""Errors as RFC 9457 problem documents: a code, a sentence, and the fields that are wrong.

In: the error tree, and what the framework raises. Out: `application/problem+json`. A problem never repeats
what was sent.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from integrations import account
from worker import log
from worker.errors import (
    BodyTooLarge,
    DiskFull,
    IdempotencyConflict,
    ImageTooLarge,
    InputError,
    InternalError,
    InvalidRequest,
    NotAllowed,
    NotFound,
    PathlaneError,
    QueueFull,
    TransientError,
    UnknownEndpoint,
)
from worker.jobs.request import problems_from

#: what is refused here is counted
SUBMISSION: Final = ("POST", "/v1/jobs")

logger = log.get(__name__)

#: the nearest class decides
STATUSES: dict[type[PathlaneError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownEndpoint: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyConflict: HTTPStatus.CONFLICT,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NotAllowed: HTTPStatus.UNAUTHORIZED,
    NotFound: HTTPStatus.NOT_FOUND,
    InputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    QueueFull: HTTPStatus.TOO_MANY_REQUESTS,
    DiskFull: HTTPStatus.INSUFFICIENT_STORAGE,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
    PathlaneError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

FIELD_OF: dict[type[PathlaneError], str] = {
    UnknownEndpoint: "endpoints",
    IdempotencyConflict: "idempotency_key",
}


def problem(error: PathlaneError) -> JSONResponse:
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
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
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    if isinstance(error, TransientError):
        headers["Retry-After"] = str(error.retry_seconds)
    return JSONResponse(body, status.value, headers, media_type="application/problem+json")


def _named_field(error: PathlaneError) -> tuple[tuple[str, str], ...]:
    field = FIELD_OF.get(type(error))
    return ((field, error.public),) if field else ()


def install(app: FastAPI) -> None:
    """Answer every error of this application with a problem document."""

    @app.exception_handler(PathlaneError)
    def _pathlane(request: Request, error: PathlaneError) -> JSONResponse:
        if (request.method, request.url.path) == SUBMISSION:
            account.refused(error, channel="http")
        return problem(error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _pathlane(request, InvalidRequest(problems_from(error.errors())))

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # the framework could not decode the body
            return problem(InvalidRequest((("body", "is not JSON"),)))
        status = HTTPStatus(error.status_code)
        body = {"type": "about:blank", "title": status.phrase, "status": status.value}
        return JSONResponse(body, status.value, error.headers, media_type="application/problem+json")

    @app.exception_handler(Exception)
    def _unforeseen(_: Request, error: Exception) -> JSONResponse:
        logger.error("request.error", **log.kind_and_place(error))
        return problem(InternalError())
