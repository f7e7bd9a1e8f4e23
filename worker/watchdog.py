"""Watchdog: a thread of its own that only looks, and ends the process when the work no longer moves.

In: the engine's progress and the heartbeat's rounds. Out: one log line, the jobs given back if the database
answers, and an exit status. It holds no lock of those it watches, so what hangs there cannot stop it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from worker import log
from worker.engine.loop import Progress

#: exit status when the engine hung or crashed (EX_SOFTWARE, sysexits.h): a new process may do better
ENGINE_FAILED = 70
#: exit status when the device keeps failing (EX_UNAVAILABLE): the next start comes late
QUARANTINED = 69
LOOK_SECONDS = 1.0
#: how long the database may take to answer before the process goes without it; the leases do the rest
GIVE_BACK_SECONDS = 10.0

logger = log.get(__name__)


@dataclass(slots=True, kw_only=True)
class Stall:
    """How long a stamp has stood still, as far as this thread was awake to see it.

    One look counts for `most` seconds at the most: a process that was paused (SIGSTOP, a laptop's lid)
    finds its stamps old when it wakes up, and nothing hangs.
    """

    limit: float
    most: float = 2 * LOOK_SECONDS
    _stamp: object = None
    _looked: float | None = None
    _seconds: float = 0.0

    def look(self, stamp: object, now: float) -> float | None:
        """The seconds without a change once they have passed the limit, else None. A None stamp is idle."""
        if stamp is None or stamp != self._stamp or self._looked is None:
            self._seconds = 0.0
        else:
            self._seconds += min(now - self._looked, self.most)
        self._stamp, self._looked = stamp, now
        return self._seconds if self._seconds > self.limit else None


@dataclass(slots=True, kw_only=True)
class Watchdog:
    progress: Callable[[], Progress]
    #: how many rounds the heartbeat has made
    rounds: Callable[[], int]
    #: gives everything back; what was in the engine's step is suspect
    give_back: Callable[[Progress], None]
    step_seconds: float
    round_seconds: float
    clock: Callable[[], float] = time.monotonic
    leave: Callable[[int], None] = os._exit
    _stopped: threading.Event = field(default_factory=threading.Event)
    _step: Stall = field(init=False)
    _round: Stall = field(init=False)

    def __post_init__(self) -> None:
        self._step = Stall(limit=self.step_seconds)
        self._round = Stall(limit=self.round_seconds)

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self) -> bool:
        """Look once. True: something no longer moves, and the process has been told to end."""
        now, progress = self.clock(), self.progress()
        if progress.crashed:
            logger.critical("engine.crashed", rows=len(progress.in_step))
        elif (seconds := self._step.look(progress.at if progress.busy else None, now)) is not None:
            logger.critical("engine.stuck", seconds=seconds, rows=len(progress.in_step))
        elif (seconds := self._round.look(self.rounds(), now)) is not None:
            logger.critical("heartbeat.stuck", seconds=seconds)
        else:
            return False
        within(GIVE_BACK_SECONDS, lambda: self.give_back(progress))
        self.leave(ENGINE_FAILED)
        return True

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            if self.look():
                return


def within(seconds: float, action: Callable[[], None]) -> None:
    """Do it in a thread, and go on after so many seconds whether it is done or not."""

    def guarded() -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001  # the process ends all the same
            logger.error("give_back.failed", **log.kind_and_place(error))

    thread = threading.Thread(target=guarded, name="give back", daemon=True)
    thread.start()
    thread.join(seconds)


def leave_now(status: int) -> NoReturn:
    """End the process although threads hang."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
