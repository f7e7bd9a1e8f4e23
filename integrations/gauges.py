"""Gauges: what stands in the store, looked up while somebody scrapes, and not more often than need be.

In: the store. Out: values of the gateway's gauges. While one scrape looks, another is given what was seen
last: no lock is held while the database answers, and a database that is away makes every value NaN.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Gauge

from worker import metrics
from worker.errors import StoreUnavailable
from worker.jobs.request import Priority
from worker.store.depths import Depth, Depths
from worker.store.presence import Presence, Workers

#: what was seen is believed for so long
FRESH_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    depth: Depth
    workers: list[Presence]


_Value = Callable[[_Seen], float]


@dataclass(slots=True, kw_only=True)
class Gauges:
    depths: Depths
    workers: Workers
    #: a worker that has been silent for so long is not counted
    silent_seconds: float
    queue_limit: int
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked_at: float = -math.inf
    _seen: _Seen | None = None

    def show(self) -> None:
        """From now on the gauges ask here."""
        metrics.QUEUE_LIMIT.set(self.queue_limit)
        metrics.STORE_UP.set_function(lambda: float(self._look() is not None))
        for priority in Priority:
            metrics.QUEUE_DEPTH.labels(priority.value).set_function(self._of(_depth(priority)))
            metrics.QUEUE_AGE.labels(priority.value).set_function(self._of(_oldest(priority)))
        for gauge, value in _VALUES:
            gauge.set_function(self._of(value))

    def _of(self, value: _Value) -> Callable[[], float]:
        def now() -> float:
            seen = self._look()
            return math.nan if seen is None else float(value(seen))

        return now

    def _look(self) -> _Seen | None:
        with self._lock:
            if self.clock() - self._looked_at < FRESH_SECONDS:
                return self._seen
            self._looked_at = self.clock()
        try:
            alive = self.workers.alive(within_seconds=self.silent_seconds)
            self._seen = _Seen(depth=self.depths.read(), workers=alive)
        except StoreUnavailable:
            self._seen = None
        return self._seen


def _depth(priority: Priority) -> _Value:
    return lambda seen: seen.depth.queued[priority]


def _oldest(priority: Priority) -> _Value:
    return lambda seen: seen.depth.oldest[priority]


_VALUES: Final[tuple[tuple[Gauge, _Value], ...]] = (
    (metrics.JOBS_RUNNING, lambda seen: seen.depth.running),
    (metrics.DELIVERIES_DUE, lambda seen: seen.depth.due),
    (metrics.DELIVERIES_FAILING, lambda seen: seen.depth.failing),
    (metrics.DELIVERY_AGE, lambda seen: seen.depth.oldest_due),
    (metrics.WORKERS, lambda seen: len(seen.workers)),
    (metrics.WORKERS_SLOTS, lambda seen: sum(worker.slots for worker in seen.workers)),
    (metrics.WORKERS_RUNNING, lambda seen: sum(worker.running for worker in seen.workers)),
)
