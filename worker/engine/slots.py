"""The cap: at most K cases at once on one device, over all processes and containers that use it.

In: a folder, a device's key and K. Out: a slot, held while a `with` block lasts. The kernel is the
arbiter: one `flock`ed file a slot, freed by the kernel itself when its holder dies. Some of the K may be kept
for STAT; who holds one of those is told so. It knows no Redis, no lease and no clock (docs/decisions/0004).
"""

from __future__ import annotations

import fcntl
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    number: int
    #: only a STAT case may be read in it
    is_kept: bool


class Slots:
    """The K slots of one device. Processes that share `folder` and `device_key` share the cap."""

    def __init__(self, folder: Path, device_key: str, count: int, *, kept: int = 0) -> None:
        """`kept` of the `count` are for STAT; one at least is for everybody."""
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9-]", "_", device_key)
        self.count = count
        self._open_to_all = count - min(kept, count - 1)
        self._paths = [folder / f"{name}.slot{number}" for number in range(count)]
        self._lock = threading.Lock()
        self._held: dict[int, int] = {}

    @property
    def free_here(self) -> int:
        """Slots this process does not hold; another process may hold them."""
        with self._lock:
            return self.count - len(self._held)

    @contextmanager
    def hold(self, *, timeout_seconds: float, or_kept: bool = True) -> Iterator[Slot]:
        """Hold a slot; one that is kept only `or_kept`, and when no other is free. Raises SlotTimeout."""
        slot = self._wait_for_one(timeout_seconds, self.count if or_kept else self._open_to_all)
        try:
            yield slot
        finally:
            with self._lock:
                os.close(self._held.pop(slot.number))

    def _wait_for_one(self, timeout_seconds: float, among: int) -> Slot:
        end = time.monotonic() + timeout_seconds
        while True:
            number = self._try_each(among)
            if number is not None:
                return Slot(number=number, is_kept=number >= self._open_to_all)
            if time.monotonic() >= end:
                raise SlotTimeout
            time.sleep(_POLL_SECONDS)

    def _try_each(self, among: int) -> int | None:
        with self._lock:
            for number, path in enumerate(self._paths[:among]):
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
                return number
        return None
