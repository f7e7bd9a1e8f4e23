"""Held: the jobs whose leases this process holds, and who may still write for each of them.

In: claimed jobs. Out: what the heartbeat renews, and what can be given back. A job ends in one of two ways:
its reader begins to write its end down, or somebody takes it back; never both. No database and no engine.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.jobs.job import Job


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    job: Job
    #: set when its reader should stop; the same event as in the engine's Interrupt
    cancelled: threading.Event = field(default_factory=threading.Event)
    #: its reader is writing its end down
    ending: bool = False


class Held:
    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._changed = threading.Condition()

    def add(self, job: Job) -> Entry:
        entry = Entry(job=job)
        with self._changed:
            self._entries.append(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Nothing happens if it was taken back before."""
        with self._changed:
            if entry in self._entries:
                self._entries.remove(entry)
                self._changed.notify_all()

    def all(self) -> list[Entry]:
        with self._changed:
            return list(self._entries)

    def may_end(self, entry: Entry) -> bool:
        """Whether its reader may write its end down. From then on it cannot be taken back."""
        with self._changed:
            entry.ending = entry in self._entries
            return entry.ending

    def take_back(self) -> Sequence[Entry]:
        """All whose end is not being written. Their readers write nothing any more."""
        with self._changed:
            taken = [entry for entry in self._entries if not entry.ending]
            self._entries = [entry for entry in self._entries if entry.ending]
            self._changed.notify_all()
        return taken

    def wait_until(self, most: int, *, seconds: float) -> bool:
        """Wait until at most so many are held. False: it did not come to that in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._entries) <= most, timeout=seconds)
