"""The bell: rings for others, so that nobody waits for a broker that is slow, hangs or is gone.

In: what to ring for ("so many jobs", "this delivery"), from any thread. Out: one call for all that came
meanwhile, in a thread of its own. A ring that is lost is rung again by a sweep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from worker import log

T = TypeVar("T")

logger = log.get(__name__)


class Bell(Generic[T]):
    def __init__(self, ring: Callable[[Sequence[T]], bool]) -> None:
        """`ring` says whether the broker took it."""
        self._ring = ring
        self._wanted: list[T] = []
        self._changed = threading.Condition()
        self._taken = True
        threading.Thread(target=self._run, name="bell", daemon=True).start()

    def __call__(self, *what: T) -> bool:
        """Returns at once: whether the broker took the ring before; one on its way is not taken yet."""
        with self._changed:
            self._wanted += what
            self._changed.notify()
            return self._taken

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted)
                wanted, self._wanted = self._wanted, []
                self._taken = False
            try:
                self._taken = self._ring(wanted)
            except Exception as error:  # noqa: BLE001  # the thread must outlive any one ring
                logger.error("ring.error", **log.kind_and_place(error))
