"""The cap: at most K cases at once on one device, over all processes and containers that use it.

In: a folder, a device's key and K. Out: a slot, held while a `with` block lasts or until it is left. The
kernel is the arbiter: one `flock`ed file a slot, freed by the kernel itself when its holder dies
(docs/decisions/0004). While one process holds all K, a case of it may sit on another's slot, and that one
pauses (docs/decisions/0010); and another may be made ready outside, for the next slot that is left there
(docs/decisions/0022). It knows no Redis, no lease and no clock.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.errors import SlotTimeout

_POLL_SECONDS = 0.02


@dataclass(slots=True, eq=False)
class Slot:
    #: which of the K; None: none of its own
    number: int | None
    #: whether it stands outside until it enters: it uses no device
    is_ahead: bool = False
    has_left: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether it is another's: the engine must pause that one while this one is written."""
        return self.number is None and not self.is_ahead


class Slots:
    """The K slots of one device. Processes that share `folder` and `device_key` share the cap."""

    def __init__(self, folder: Path, device_key: str, count: int, *, ahead: int = 0) -> None:
        """`ahead`: so many may stand outside while this process holds all K."""
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9-]", "_", device_key)
        self.count, self._most_ahead = count, ahead
        self._paths = [folder / f"{name}.slot{number}" for number in range(count)]
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._entered = threading.Condition(self._lock)
        self._held: dict[int, int] = {}
        self._outside = 0
        #: those that would enter, and those that sit on another's slot; the longest first
        self._entering: list[Slot] = []
        self._sharing: list[Slot] = []
        self._shared_at = -math.inf
        #: the thread that looks, for all who wait here, what other processes leave; and one for who may share
        self._at_door: dict[bool, int] = {}

    @property
    def free_here(self) -> int:
        """Slots this process does not hold; another process may hold them."""
        with self._lock:
            return self.count - len(self._held)

    @contextmanager
    def hold(
        self, *, timeout_seconds: float, share_after: float | None = None, ahead: bool = False
    ) -> Iterator[Slot]:
        """Hold a slot. Raises SlotTimeout.

        While this process holds all of them, another's is shared after `share_after` seconds, by one in that
        time. The first one that is left in this process becomes one's own then, before others can take it.
        With `ahead` one may be given a place outside at once instead: see `enter`.
        """
        share_after = timeout_seconds if share_after is None else share_after
        slot = self._wait_for_one(timeout_seconds, share_after, ahead=ahead)
        try:
            yield slot
        finally:
            self.leave(slot)

    def enter(self, slot: Slot, *, share: bool, stop: Callable[[], bool]) -> None:
        """From outside onto the device: with the next slot that is left here, or at once, where it may share.

        Nothing happens if it is on it. Raises SlotTimeout once `stop` says so.
        """
        with self._lock:
            if not slot.is_ahead:
                return
            self._entering.append(slot)
            try:
                while slot.is_ahead:
                    if stop():
                        raise SlotTimeout
                    self._let_in(slot, share=share)
                    if slot.is_ahead:
                        self._entered.wait(_POLL_SECONDS)
            finally:
                self._entering.remove(slot)

    def leave(self, slot: Slot) -> None:
        """Before the `with` block ends: others may have it. Nothing happens a second time."""
        with self._lock:
            if slot.has_left:
                return
            slot.has_left = True
            if slot.is_ahead:
                self._outside -= 1
            elif slot.number is None:
                self._sharing.remove(slot)
            else:
                self._hand_on(slot.number)
            self._left.notify()

    def _hand_on(self, number: int) -> None:
        """To whoever sits on another's, or has stood outside for long; else to all processes."""
        waiting = next((slot for slot in self._entering if slot.is_ahead), None)
        if self._sharing:
            self._sharing.pop(0).number = number
        elif waiting is not None:
            waiting.number = number
            self._is_in(waiting)
            self._entered.notify_all()
        else:
            os.close(self._held.pop(number))

    def _let_in(self, slot: Slot, *, share: bool) -> None:
        slot.number = self._take_one()
        if slot.number is None and share and len(self._sharing) < self.count:
            self._sharing.append(slot)
        elif slot.number is None:
            return
        self._is_in(slot)

    def _is_in(self, slot: Slot) -> None:
        slot.is_ahead = False
        self._outside -= 1
        self._left.notify()  # the place outside is free

    def _wait_for_one(self, timeout_seconds: float, share_after: float, *, ahead: bool) -> Slot:
        begun = time.monotonic()
        with self._lock:
            try:
                while True:
                    waited = time.monotonic() - begun
                    may_share = share_after <= waited < timeout_seconds
                    slot = self._find_one(share_after if may_share else None, ahead=ahead)
                    if slot is not None:
                        return slot
                    if waited >= timeout_seconds:
                        raise SlotTimeout
                    until_share = max(begun, self._shared_at) + share_after - time.monotonic()
                    may_share = share_after < timeout_seconds
                    self._wait_for_leaver(until_share, timeout_seconds - waited, may_share=may_share)
            finally:
                self._leave_the_door()

    def _find_one(self, pace: float | None, *, ahead: bool) -> Slot | None:
        number = self._take_one()
        if number is not None:
            return Slot(number)
        if len(self._held) < self.count:
            return None
        if ahead and self._outside < self._most_ahead:
            self._outside += 1
            return Slot(None, is_ahead=True)
        if pace is None or len(self._sharing) >= self.count or time.monotonic() - self._shared_at < pace:
            return None
        self._shared_at = time.monotonic()
        slot = Slot(None)
        self._sharing.append(slot)
        return slot

    def _wait_for_leaver(self, until_share: float, until_timeout: float, *, may_share: bool) -> None:
        """Until somebody here leaves a slot. One for all wakes to look whether it is time to share one, and
        at other processes: every thread that wakes takes the interpreter from the engine's."""
        me = threading.get_ident()
        if self._at_door.setdefault(may_share, me) != me:
            self._left.wait(until_timeout)
        else:
            self._left.wait(until_share if 0 < until_share < _POLL_SECONDS else _POLL_SECONDS)

    def _leave_the_door(self) -> None:
        me = threading.get_ident()
        if me in self._at_door.values():
            self._at_door = {sort: one for sort, one in self._at_door.items() if one != me}
            self._left.notify_all()

    def _take_one(self) -> int | None:
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
            return number
        return None
