"""History: how the queue was in the last hour, as this process has seen it.

In: a way to look. Out: samples, the oldest first. A ring in memory: it begins anew with the process, and each
gateway has its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from worker import log
from worker.errors import StoreUnavailable
from worker.store.backlog import Queue

SECONDS: Final = 5.0
#: an hour of them
KEPT: Final = 720

logger = log.get(__name__)


class History:
    def __init__(self, look: Callable[[], Queue], *, seconds: float = SECONDS, kept: int = KEPT) -> None:
        self._look = look
        self.seconds = seconds
        self._samples: deque[Queue] = deque(maxlen=kept)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look every so often, in a thread, until `stop`."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def sample(self) -> None:
        self._samples.append(self._look())

    def samples(self) -> list[Queue]:
        return list(self._samples)

    def _run(self) -> None:
        while True:
            try:
                self.sample()
            except StoreUnavailable:
                logger.warning("store.unavailable")
            except Exception as error:  # noqa: BLE001  # the thread must outlive any one round
                logger.error("round.error", **log.kind_and_place(error))
            if self._stopped.wait(self.seconds):
                return
