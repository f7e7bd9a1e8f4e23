"""The cap: at most K cases at once on one device, over all processes and containers that use it.

In: a folder, a device's key and K. Out: a slot, held while a `with` block lasts. The kernel is the
arbiter: one `flock`ed file a slot, freed by the kernel itself when its holder dies (docs/decisions/0004).
While one process holds all K, a case of it may sit on another's slot, and that one pauses
(docs/decisions/0010). It knows no Redis, no lease and no clock.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.errors import SlotTimeout

_POLL_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class Slot:
    #: which of the K; None: that of another case in this process
    number: int | None

    @property
    def is_shared(self) -> bool:
        """Whether it is another's: the engine must pause that one while this one is written."""
        return self.number is None


class Slots:
    """The K slots of one device. Processes that share `folder` and `device_key` share the cap."""

    def __init__(self, folder: Path, device_key: str, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9-]", "_", device_key)
        self.count = count
        self._paths = [folder / f"{name}.slot{number}" for number in range(count)]
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._held: dict[int, int] = {}
        #: those that sit on another's slot, the longest first
        self._sharing: list[Slot] = []
        self._shared_at = -math.inf

    @property
    def free_here(self) -> int:
        """Slots this process does not hold; another process may hold them."""
        with self._lock:
            return self.count - len(self._held)

    @contextmanager
    def hold(self, *, timeout_seconds: float, share_after: float | None = None) -> Iterator[Slot]:
        """Hold a slot. Raises SlotTimeout.

        While this process holds all of them, another's is shared after `share_after` seconds, by one in that
        time. The first one that is left in this process becomes one's own then, before others can take it.
        """
        slot = self._wait_for_one(timeout_seconds, timeout_seconds if share_after is None else share_after)
        try:
            yield slot
        finally:
            self._leave(slot)

    def _wait_for_one(self, timeout_seconds: float, share_after: float) -> Slot:
        begun = time.monotonic()
        while True:
            slot = self._try_each()
            waited = time.monotonic() - begun
            if slot is None and share_after <= waited < timeout_seconds:
                slot = self._try_to_share(share_after)
            if slot is not None:
                return slot
            if waited >= timeout_seconds:
                raise SlotTimeout
            self._wait_for_leaver(share_after - waited)

    def _wait_for_leaver(self, until_share: float) -> None:
        """Until somebody here leaves a slot, it is time to share one, or to look at other processes."""
        pause = until_share if 0 < until_share < _POLL_SECONDS else _POLL_SECONDS
        with self._left:
            self._left.wait(pause)

    def _try_each(self) -> Slot | None:
        with self._lock:
            for number, path in enumerate(self._paths):
                if number in self._held:
                    continue
                # Opened anew each time: a flock belongs to the open file, so threads exclude each other too.
                file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(file)
                    continue
                self._held[number] = file
                return Slot(number)
        return None

    def _try_to_share(self, pace: float) -> Slot | None:
        with self._lock:
            if len(self._held) < self.count or len(self._sharing) >= self.count:
                return None
            if time.monotonic() - self._shared_at < pace:
                return None
            self._shared_at = time.monotonic()
            slot = Slot(None)
            self._sharing.append(slot)
            return slot

    def _leave(self, slot: Slot) -> None:
        with self._lock:
            if slot.number is None:
                self._sharing.remove(slot)
            elif self._sharing:
                self._sharing.pop(0).number = slot.number
            else:
                os.close(self._held.pop(slot.number))
            self._left.notify()
