"""The application: routes, errors and limits put together, and its description (OpenAPI 3.1).

In: an Api. Out: an ASGI application. `python -m integrations.http_api` makes the Api from the settings.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from integrations.console import pages
from integrations.http_api import (
    deliveries,
    endpoints,
    events,
    jobs,
    notifications,
    problems,
    provider,
    readings,
    reviews,
    sessions,
    status,
    uploads,
    worklist,
)
from integrations.http_api.documents import Problem
from integrations.http_api.limits import RateHeaders
from integrations.http_api.state import Api
from worker import __version__
from worker.errors import BodyTooLarge

UPLOADS: Final = "/v1/uploads"
#: FastAPI's own would tell of an exception with its text, which may quote a case (`worker.traces` tells ours)
TELEMETRY_OFF: Final[TelemetryConfig] = {
    "tracing": False, "metrics": False, "logs": False, "auto_configure": False,
}  # fmt: skip
#: a path that is matched first stands first: /v1/jobs/batch before /v1/jobs/{job_id}
_ROUTERS: Final = (
    worklist.router, jobs.router, events.router, readings.router, reviews.router, uploads.router,
    endpoints.router, deliveries.router, status.router, sessions.router, notifications.router,
)  # fmt: skip
_ABOUT: Final = """Ask a vision-language reasoner about pathology images. Research use only.

Every request shows an API key (`Authorization: Bearer pl_...`) that has the scope it needs: `submit`, `read`,
`review`, `operate`. Errors are problem documents (RFC 9457). Lists are turned by the cursor in `next`."""


def create_app(api: Api) -> FastAPI:
    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        api.feed.open()
        api.history.start()
        yield
        api.feed.close()
        await run_in_threadpool(api.history.stop)

    app = FastAPI(
        title="Pathlane",
        version=__version__,
        description=_ABOUT,
        lifespan=life,
        telemetry=TELEMETRY_OFF,
    )
    app.state.api = api
    _describe(app)
    app.add_middleware(BodyLimit, max_bytes=api.max_body_bytes)
    app.add_middleware(RateHeaders)
    return app


def description() -> dict[str, Any]:
    """The OpenAPI document, without a store."""
    app = FastAPI(title="Pathlane", version=__version__, description=_ABOUT, telemetry=TELEMETRY_OFF)
    _describe(app)
    return app.openapi()


def _describe(app: FastAPI) -> None:
    for router in (*_ROUTERS, provider.router, pages.router):
        app.include_router(router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    problems.install(app, lambda path: _methods(app, path))


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )  # fmt: skip
        schemas = document["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs") | {"Problem": problem}
        app.openapi_schema = document
    return app.openapi_schema


def _methods(app: FastAPI, path: str) -> Sequence[str]:
    """Those of this path itself, or of the first template that it fits."""
    paths = app.openapi()["paths"]
    fitting = (paths[one] for one in paths if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path))
    found: dict[str, Any] = paths.get(path) or next(fitting, {})
    return sorted(method.upper() for method in found)


class BodyLimit:
    """413 as soon as a JSON body is too large, before anything parses it. Uploads have their own limit."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == UPLOADS:
            await self._app(scope, receive, send)
            return
        body = await self._body(receive)
        if body is None:
            await problems.problem(BodyTooLarge(f"The limit is {self._max_bytes} bytes."))(
                scope, receive, send
            )
            return

        async def replay() -> Message:
            if chunks:
                return chunks.pop()
            return await receive()

        chunks: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        await self._app(scope, replay, send)

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body, or None when it is too large."""
        body = b""
        while True:
            message = await receive()
            body += bytes(message.get("body", b""))
            if len(body) > self._max_bytes:
                return None
            if not message.get("more_body"):
                return body
