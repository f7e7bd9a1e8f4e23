"""The application: routes, errors and limits put together.

In: an Api. Out: an ASGI application. `python -m integrations.http_api` makes the Api from the settings.
"""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from integrations.http_api import problems, routes
from integrations.http_api.state import Api
from worker import __version__
from worker.errors import BodyTooLarge

UPLOADS = "/v1/uploads"
#: FastAPI's own would tell of an exception with its text, which may quote a case (`worker.traces` tells ours)
TELEMETRY_OFF: Final[TelemetryConfig] = {
    "tracing": False, "metrics": False, "logs": False, "auto_configure": False,
}  # fmt: skip


def create_app(api: Api) -> FastAPI:
    app = FastAPI(
        title="Pathlane",
        version=__version__,
        description="Ask a vision-language reasoner about pathology images. Research use only.",
        telemetry=TELEMETRY_OFF,
    )
    app.state.api = api
    app.include_router(routes.router)
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=api.max_body_bytes)
    return app


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
