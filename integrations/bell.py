"""The bell: rings for others, so that nobody waits for a broker that is slow, hangs or is gone.

In: "so many jobs were made", from any thread. Out: one ring for all that came meanwhile. A ring that is lost
with the process is rung again by a sweep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Bell:
    """Rings from a thread of its own, so that a broker that hangs holds up no acknowledgement."""

    def __init__(self, ring: Callable[[int], None]) -> None:
        self._ring = ring
        self._wanted = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="bell", daemon=True).start()

    def __call__(self, times: int) -> None:
        with self._changed:
            self._wanted += times
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted > 0)
                times, self._wanted = self._wanted, 0
            self._ring(times)
