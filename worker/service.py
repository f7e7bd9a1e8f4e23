"""A running worker: claims what is best, reads it, writes down what came of it, and keeps its leases.

In: the store, the slots and the pipeline. Out: readings in the store, and rings for whoever tells.
Two threads run beside the reads: the heartbeat (leases, cancellations, presence) and the sweep (other
workers' lost leases, lost rings). It does not know Celery; `worker.tasks` calls it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from worker import log
from worker.engine.slots import Slots
from worker.errors import InternalError, LeaseLost, PathlaneError, SlotTimeout, StoreUnavailable
from worker.jobs.job import Job
from worker.jobs.reading import Reading
from worker.pipeline import Pipeline
from worker.store.jobs import Jobs
from worker.store.presence import Presence, Workers

#: a task gives up its ring after so long and rings anew, far below the broker's visibility timeout
SECONDS_PER_RING = 600.0
SLOT_SECONDS = 5.0
STORE_RETRY_SECONDS = 2.0

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bells:
    """What the worker rings. Each returns at once and never raises."""

    #: "there is work", so many times
    read: Callable[[int], None]
    #: "this delivery is due"
    deliver: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How often, in seconds."""

    lease: float
    sweep: float
    patience: float


@dataclass(slots=True, kw_only=True)
class Service:
    jobs: Jobs
    workers: Workers
    slots: Slots
    pipeline: Pipeline
    presence: Presence
    bells: Bells
    rhythm: Rhythm
    draining: threading.Event = field(default_factory=threading.Event)
    _running: dict[str, tuple[Job, threading.Event]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self.workers.report(self.presence)
        for name, seconds, once in (
            ("heartbeat", self.rhythm.lease / 3, self.beat),
            ("sweep", self.rhythm.sweep, self.sweep),
        ):
            thread = threading.Thread(target=self._every, args=(seconds, once), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop the two threads and leave. Reads that still run lose their leases in time."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=5)
        try:
            self.workers.leave(self.presence.id)
        except StoreUnavailable:
            logger.warning("worker.leave_failed")

    def work_off(self, *, seconds: float = SECONDS_PER_RING) -> bool:
        """Read until nothing is queued (False), or until `seconds` have passed (True: ring again)."""
        end = time.monotonic() + seconds
        while not self.draining.is_set():
            if time.monotonic() >= end:
                return True
            try:
                if not self.read_next():
                    return False
            except SlotTimeout:
                return False  # other processes keep the device busy; the sweep rings again
            except StoreUnavailable:
                logger.warning("store.unavailable")
                self._stopped.wait(STORE_RETRY_SECONDS)
        return False

    def read_next(self) -> bool:
        """Take a slot, claim the best job and read it. False: there was none."""
        with self.slots.hold(timeout_seconds=SLOT_SECONDS):
            job = self.jobs.claim(worker_id=self.presence.id, lease_seconds=self.rhythm.lease)
            if job is None:
                return False
            with structlog.contextvars.bound_contextvars(**job.log_context()):
                self._read(job)
        return True

    def _read(self, job: Job) -> None:
        logger.info("job.claimed")
        cancelled = threading.Event()
        with self._lock:
            self._running[job.id] = (job, cancelled)
        try:
            self._conclude(job, self._outcome_of(job, cancelled))
        finally:
            with self._lock:
                del self._running[job.id]

    def _outcome_of(self, job: Job, cancelled: threading.Event) -> Reading | PathlaneError:
        try:
            return self.pipeline.read(job, cancelled)
        except PathlaneError as error:
            return error
        except Exception as error:  # noqa: BLE001  # whatever it is, it concerns this job alone
            logger.error("job.error", **log.kind_and_place(error))
            return InternalError()

    def _conclude(self, job: Job, result: Reading | PathlaneError) -> None:
        """Write the end down, however long the database takes to come back, unless the lease is lost."""
        while not self._stopped.is_set():
            try:
                deliveries = self._write(job, result)
            except LeaseLost:
                logger.warning("job.lease_lost")
                return
            except StoreUnavailable:
                logger.warning("store.unavailable")
                self._stopped.wait(STORE_RETRY_SECONDS)
            else:
                for delivery_id in deliveries:
                    self.bells.deliver(delivery_id)
                return

    def _write(self, job: Job, result: Reading | PathlaneError) -> list[str]:
        if isinstance(result, Reading):
            deliveries = self.jobs.finish(job, result)
            logger.info("job.finished", outcome=result.outcome.value, tokens=result.completion_tokens)
            return deliveries
        deliveries = self.jobs.fail(job, result)
        logger.warning("job.failed", code=result.code, retryable=result.retryable)
        return deliveries

    def beat(self) -> None:
        """Renew every lease, pass cancellations on, and say that this worker is alive."""
        with self._lock:
            running = dict(self._running)
        held = self.jobs.renew(
            [(job.id, job.attempt) for job, _ in running.values()], lease_seconds=self.rhythm.lease
        )
        for job_id, (_, cancelled) in running.items():
            if held.get(job_id, True):  # asked to stop, or no longer ours
                cancelled.set()
        self.workers.report(replace(self.presence, running=len(running)))

    def sweep(self) -> None:
        """Give back what others lost, and ring for queued jobs while slots are free here."""
        found = self.jobs.sweep(patience_seconds=self.rhythm.patience)
        if found.returned or found.poisoned:
            logger.warning("sweep.found", count=found.returned + found.poisoned)
        rings = min(found.waiting, self.slots.free_here)
        if rings and not self.draining.is_set():
            self.bells.read(rings)

    def _every(self, seconds: float, once: Callable[[], None]) -> None:
        while not self._stopped.wait(seconds):
            try:
                once()
            except StoreUnavailable:
                logger.warning("store.unavailable")
            except Exception as error:  # noqa: BLE001  # the thread must outlive any one round
                logger.error("round.error", **log.kind_and_place(error))
