"""Drain: the way out. Nothing new is claimed, what runs may end, the rest goes back to the queue, and out.

In: what is held, and how long it may take. Out: an exit status. It knows neither signals nor Celery, which
ends by itself once the tasks have ended; if it does not, the process is ended here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worker import log
from worker.held import Held
from worker.watchdog import GIVE_BACK_SECONDS, within

#: a second request this soon is the same one: systemd tells a whole group, and our supervisor tells us again
SAME_REQUEST_SECONDS = 2.0
#: how long the program may take to end by itself once nothing is held
LEAVE_SECONDS = 5.0
_LOOK_SECONDS = 0.2

logger = log.get(__name__)


@dataclass(slots=True, kw_only=True)
class Drain:
    held: Held
    #: gives back what is still held, as if it had never been claimed
    give_back: Callable[[], None]
    grace_seconds: float
    clock: Callable[[], float] = time.monotonic
    leave: Callable[[int], None] = os._exit
    #: set as soon as nothing new may be claimed
    begun: threading.Event = field(default_factory=threading.Event)
    #: set once nothing is held any more
    ended: threading.Event = field(default_factory=threading.Event)
    #: set by the program when it ends by itself
    left: threading.Event = field(default_factory=threading.Event)
    _asked: float | None = None
    _at_once: threading.Event = field(default_factory=threading.Event)

    def begin(self, status: int = 0) -> None:
        """Returns at once, so that a signal handler may call it. Asked a second time: without the grace."""
        if self._asked is not None:
            if self.clock() - self._asked >= SAME_REQUEST_SECONDS:
                self._at_once.set()
            return
        self._asked = self.clock()
        self.begun.set()
        threading.Thread(target=self._run, args=(status,), name="drain", daemon=True).start()

    def _run(self, status: int) -> None:
        logger.info("worker.draining", jobs=len(self.held.all()))
        end = self.clock() + self.grace_seconds
        while not self.held.wait_until(0, seconds=_LOOK_SECONDS):
            if self._at_once.is_set() or self.clock() >= end:
                late = self.held.all()
                logger.warning("worker.grace_over", jobs=len(late))
                within(GIVE_BACK_SECONDS, self.give_back)
                for entry in late:
                    entry.cancelled.set()
                break
        self.ended.set()
        if status or not self.left.wait(LEAVE_SECONDS):
            self.leave(status)
