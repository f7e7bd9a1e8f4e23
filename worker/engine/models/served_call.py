"""Call: one answer of a server, followed in a thread of its own.

In: a server and the body of a request. Out: what has come so far, at any moment; in the end a whole answer or
a typed error. While nothing has come, a server that is starting again or busy is asked again for a minute, so
that its restart costs no case an attempt. It knows no deadline: whoever waits cuts it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from worker import log
from worker.engine.models.served_chat import Answer, Json
from worker.engine.models.served_server import Line, Server
from worker.errors import InternalError, PathlaneError, ServerUnavailable

#: how long a server is asked again that cannot be reached, and the first and the longest pause
PATIENCE_SECONDS: Final = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
_PASSING: Final = frozenset({"unreachable", "busy", "broken"})

logger = log.get(__name__)


class Call:
    """Begun when it is made. `changed` is called in its thread, when it is over."""

    def __init__(self, server: Server, said: Json, changed: Callable[[], None]) -> None:
        self.is_over = False
        self.error: PathlaneError | None = None
        #: why nothing has come yet, while it waits to ask again
        self.trouble: ServerUnavailable | None = None
        #: how often something has come, or was asked again
        self.moves = 0
        self._server, self._said, self._changed = server, said, changed
        self._answer = Answer()
        self._line = Line()
        threading.Thread(target=self._run, name="served", daemon=True).start()

    @property
    def answer(self) -> Answer:
        """To be read once it is over or cut; what arrives at that very moment may still be added."""
        return self._answer

    @property
    def is_whole(self) -> bool:
        return self.is_over and self.error is None

    def cut(self) -> None:
        self._line.cut()

    def _run(self) -> None:
        try:
            self._persist(time.monotonic() + PATIENCE_SECONDS)
        except PathlaneError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  whatever it is, it concerns this answer alone
            logger.error("served.error", **log.kind_and_place(error))
            self.error = InternalError()
        self.is_over = True
        self._changed()

    def _persist(self, until: float) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                return self._follow()
            except ServerUnavailable as error:
                if self._line.is_cut:
                    return None
                wait = max(pause, _seconds(error.retry_after))
                begun = self._answer.completion_tokens > 0
                if begun or error.reason not in _PASSING or time.monotonic() + wait > until:
                    raise
                self.trouble = error
            logger.info("served.again", reason=self.trouble.reason, wait=wait)
            self._line.wait(wait)
            if self._line.is_cut:
                return None
            pause = min(2 * pause, LONGEST_PAUSE)
            self.moves += 1

    def _follow(self) -> None:
        with closing(self._server.ask(self._said, self._line)) as stream:
            for event in stream:
                if self._line.is_cut:
                    return
                self.trouble = None
                self._answer.take(event)
                self.moves += 1
        if self._answer.finish is None:
            raise ServerUnavailable("broken")


def _seconds(retry_after: str) -> float:
    """Of a Retry-After in seconds; one that is a date, or nonsense, is no wish."""
    return float(retry_after) if retry_after.isdecimal() and len(retry_after) < 6 else 0.0
