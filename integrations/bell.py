"""The bell: rings for others, so that nobody waits for a broker that is slow, hangs or is gone.

In: "so many jobs were made", or ids of deliveries that are due, from any thread. Out: one ring for all that
came meanwhile. A ring that is lost with the process is rung again by a sweep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Wanted = TypeVar("Wanted", int, tuple[str, ...])


class Bell(Generic[Wanted]):
    """Rings from a thread of its own, so that a broker that hangs holds up no acknowledgement."""

    def __init__(self, ring: Callable[[Wanted], None], nothing: Wanted) -> None:
        self._ring: Callable[[Wanted], None] = ring
        self._nothing: Wanted = nothing
        self._wanted: Wanted = nothing
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="bell", daemon=True).start()

    def __call__(self, wanted: Wanted) -> None:
        with self._changed:
            self._wanted += wanted
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted != self._nothing)
                wanted, self._wanted = self._wanted, self._nothing
            self._ring(wanted)
