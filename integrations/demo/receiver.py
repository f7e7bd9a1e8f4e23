"""A receiver as a lab would write one: verifies each webhook with the `standardwebhooks` package.

In: POSTs on loopback. Out: for each event that verified, its id and its data. It shares no code with the
sender.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Receiver:
    """Listens from `start` to `stop`. `arrived` is webhook-id -> data of events that verified."""

    def __init__(self, port: int = 0) -> None:
        self.arrived: dict[str, dict[str, Any]] = {}
        self.refused = 0
        self._verifier: Webhook | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                # The raw bytes: a body that was parsed and written again has another signature.
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(204 if receiver._take(body, dict(self.headers)) else 400)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/pathlane"

    def start(self, secret: str) -> None:
        self._verifier = Webhook(secret)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._verifier is not None:  # it waits for ever for a server that never ran
            self._server.shutdown()
        self._server.server_close()

    def of_job(self, job_id: str) -> str | None:
        """The webhook-id that told of this job, if it has arrived."""
        return next((i for i, data in self.arrived.items() if data["job_id"] == job_id), None)

    def _take(self, body: bytes, headers: dict[str, str]) -> bool:
        assert self._verifier is not None
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            event = self._verifier.verify(body, lower)
        except (WebhookVerificationError, ValueError):  # it raises ValueError for a malformed header
            self.refused += 1
            return False
        self.arrived[lower["webhook-id"]] = event["data"]
        return True
