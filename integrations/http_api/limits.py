"""Limits: how often one asker may ask, and the headers that say so.

In: who asks. Out: an allowance, or RateLimited. A bucket for each asker in this process: of several gateways
each has its own. Headers: draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.errors import RateLimited

#: where a request keeps its allowance for `RateHeaders`
STATE: Final = "allowance"
POLICY: Final = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    quota: int
    #: seconds in which an empty bucket fills
    window: int
    remaining: int
    #: seconds until it is full
    reset: int
    #: seconds until one request is allowed; 0 where one was
    wait: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Policy": f'"{POLICY}";q={self.quota};w={self.window}',
            "RateLimit": f'"{POLICY}";r={self.remaining};t={self.reset}',
        }

    def check(self) -> None:
        """Raises RateLimited."""
        if self.wait:
            raise RateLimited(retry_seconds=self.wait)


class Limits:
    """Token buckets. There are as many as keys that were ever shown: an unknown key gets none."""

    def __init__(self, *, per_second: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        """No limit where `per_second` is 0."""
        self._rate = per_second
        self._burst = burst
        self._now = now
        #: asker -> tokens, and when they were counted
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, asker: str) -> Allowance | None:
        """One request of `asker`. None: there is no limit."""
        if not self._rate:
            return None
        now = self._now()
        with self._lock:
            tokens, counted = self._buckets.get(asker, (float(self._burst), now))
            tokens = min(self._burst, tokens + (now - counted) * self._rate)
            is_allowed = tokens >= 1
            tokens -= is_allowed
            self._buckets[asker] = (tokens, now)
        return Allowance(
            quota=self._burst,
            window=math.ceil(self._burst / self._rate),
            remaining=int(tokens),
            reset=math.ceil((self._burst - tokens) / self._rate),
            wait=0 if is_allowed else max(1, math.ceil((1 - tokens) / self._rate)),
        )


class RateHeaders:
    """Puts the allowance of a request on its answer, whatever that is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def with_headers(message: Message) -> None:
            allowance = state.get(STATE)
            if message["type"] == "http.response.start" and allowance is not None:
                MutableHeaders(scope=message).update(allowance.headers)
            await send(message)

        await self._app(scope, receive, with_headers)
