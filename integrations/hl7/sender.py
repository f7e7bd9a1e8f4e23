"""Sender: one attempt to deliver a result over MLLP, and the lines it goes over.

In: a delivery, its message, the endpoint's line, a chance. Out: an Outcome,
whatever the receiver does. It does not know the outbox, keeps nothing of an acknowledgement but its code,
and logs nothing.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from integrations.hl7.line import FrameBroken, Line, LineBusy
from integrations.hl7.results import control_id_of
from integrations.schedule import failed
from worker.address import AllowList
from worker.errors import AddressRefused
from worker.jobs.event import Delivery, DeliveryStatus, Endpoint, Outcome
from worker.pinned import Resolver, system_resolver

#: the nearest class decides
REASONS: Final[dict[type[BaseException], str]] = {
    LineBusy: "busy",
    TimeoutError: "timeout",
    FrameBroken: "frame",
    ConnectionRefusedError: "refused",
    ConnectionError: "dropped",
    socket.gaierror: "dns",
    ssl.SSLError: "tls",
    OSError: "unreachable",
    ValueError: "url",
    AddressRefused: "address_refused",
}


def attempt(delivery: Delivery, message: bytes, line: Line, *, chance: float) -> Outcome:
    """Send `message` once, under the delivery's control id. `chance` (0 to 1) is for jitter.

    A message that the receiver rejects is set aside at once: it would be rejected again.
    """
    try:
        answer = line.send(message, control_id_of(delivery.id))
    except (OSError, ValueError, AddressRefused) as error:
        return failed(delivery, chance=chance, reason=reason_of(error))
    if answer.is_accepted:
        return Outcome(status=DeliveryStatus.DELIVERED)
    if answer.is_rejected:
        return Outcome(status=DeliveryStatus.EXHAUSTED, reason="rejected")
    reason = "not_accepted" if answer.is_error else "not_understood"
    return failed(delivery, chance=chance, reason=reason)


def reason_of(error: BaseException) -> str:
    """One word for the log."""
    return next((REASONS[base] for base in type(error).__mro__ if base in REASONS), "")


class Lines:
    """One line for each endpoint of this process, opened when it is needed, for any number of threads."""

    def __init__(
        self,
        *,
        allow: AllowList,
        seconds: float,
        idle_seconds: float,
        tls: ssl.SSLContext | None = None,
        resolve: Resolver = system_resolver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allow = allow
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._tls = tls
        self._resolve = resolve
        self._clock = clock
        self._guard = Lock()
        #: endpoint id -> its line, and when it was last asked for
        self._lines: dict[str, tuple[Line, float]] = {}

    def line(self, endpoint: Endpoint) -> Line:
        """The endpoint's line; a new one when its URL has changed."""
        with self._guard:
            known, _ = self._lines.get(endpoint.id, (None, 0.0))
            line = known if known and known.url == endpoint.url else self._new(endpoint.url)
            self._lines[endpoint.id] = (line, self._clock())
        if known and known is not line:
            known.close()
        return line

    def close_idle(self) -> None:
        """Hang up the lines that nobody has asked for in a while. Called now and then."""
        with self._guard:
            since = self._clock() - self._idle_seconds
            idle = [line for line, asked in self._lines.values() if asked <= since]
        for line in idle:
            line.close(wait=False)

    def close(self) -> None:
        with self._guard:
            lines = [line for line, _ in self._lines.values()]
            self._lines.clear()
        for line in lines:
            line.close()

    def _new(self, url: str) -> Line:
        return Line(url, allow=self._allow, seconds=self._seconds, tls=self._tls, resolve=self._resolve)
