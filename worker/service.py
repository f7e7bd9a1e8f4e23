"""A running worker: claims what is best, reads it, writes down what came of it, and keeps its leases.

In: the store, the slots and the pipeline. Out: readings in the store, and rings for whoever tells.
Four threads run beside the reads: the heartbeat (leases, presence), the ear (cancellations), the sweep (other
workers' lost leases, lost rings; docs/decisions/0007) and the chain of the audit (docs/decisions/0011). It
does not know Celery: `worker.tasks` calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import structlog

from worker import account, log
from worker.engine.reasoner import Interrupt
from worker.engine.slots import Slot, Slots
from worker.errors import (
    EngineStopped,
    GpuOutOfMemory,
    InternalError,
    LeaseLost,
    PathlaneError,
    SlotTimeout,
    StoreUnavailable,
)
from worker.held import Entry, Held
from worker.jobs.job import Job
from worker.jobs.reading import Reading
from worker.jobs.request import Priority
from worker.pipeline import Pipeline
from worker.store.jobs import Jobs
from worker.store.presence import Presence, Workers

#: a task gives up its ring after so long and rings anew, far below the broker's visibility timeout
SECONDS_PER_RING = 600.0
SLOT_SECONDS = 5.0
#: a STAT case waits so long for a slot before it sits on another's: whoever is about to leave one may do so
SHARE_SECONDS = 0.02
STORE_RETRY_SECONDS = 2.0
#: how soon a cancellation is heard of, while something is read
CANCEL_SECONDS = 1.0
#: so many attempts in a row that the device failed, and it is used no more; one bad job has only three
FAILURES_ALLOWED = 5
#: so many sweeps in a row whose rings the broker took and this worker never heard, and it starts anew
UNHEARD_ALLOWED = 60
#: how long those who are writing an end down may take when everything is given back
ENDING_SECONDS = 3.0

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bells:
    """What the worker rings. Each returns at once and never raises."""

    #: "there is work", so many times; whether the broker took the ring before
    read: Callable[[int], bool]
    #: "this delivery is due"
    deliver: Callable[[str], object]


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
    #: whether the engine can put a case aside for a STAT one
    can_pause: bool = False
    #: called once when the device has failed too often in a row
    quarantine: Callable[[], None] = lambda: None
    #: called once when the broker takes our rings and we never hear one
    deaf: Callable[[], None] = lambda: None
    #: lays the audit's chain on by what is new
    chain: Callable[[], object] = lambda: None
    draining: threading.Event = field(default_factory=threading.Event)
    held: Held = field(default_factory=Held)
    #: how many rounds the heartbeat has begun
    rounds: int = 0
    #: closed while a job is claimed, and for as long as one is read alone
    _door: threading.Lock = field(default_factory=threading.Lock)
    _failures: int = 0
    #: whether a ring has been heard since the last sweep that rang
    _heard: bool = True
    _unheard: int = 0
    _presence_lock: threading.Lock = field(default_factory=threading.Lock)
    _has_left: bool = False
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self.workers.report(self.presence)
        for name, seconds, once in (
            ("heartbeat", self.rhythm.lease / 3, self.beat),
            ("ear", min(CANCEL_SECONDS, self.rhythm.lease / 3), self.hear_cancellations),
            ("sweep", self.rhythm.sweep, self.sweep),
            ("audit", self.rhythm.sweep, self.chain),
        ):
            thread = threading.Thread(target=self._every, args=(seconds, once), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop the threads and leave. Reads that still run lose their leases in time."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=5)
        try:
            self._leave()
        except StoreUnavailable:
            logger.warning("worker.leave_failed")

    def hear(self) -> bool:
        """A ring was heard. True: it took long, ring again."""
        self._heard = True
        return self.work_off()

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
        """Take a slot, claim the best job and read it. False: there was none. Raises SlotTimeout.

        With every slot taken in this process a few are claimed and made ready for the next slot that is left;
        beyond them only STAT is: the engine pauses another case for it.
        """
        can_pause = self._somebody_can_be_paused()
        share_after = SHARE_SECONDS if can_pause else None
        with self.slots.hold(timeout_seconds=SLOT_SECONDS, share_after=share_after, ahead=can_pause) as slot:
            shared = slot.is_shared
            if self._read_one(slot, at_least=Priority.STAT if shared else Priority.ROUTINE):
                return True
        if not shared:
            return False
        # Whoever has left a slot meanwhile may have looked for work a moment before it came.
        with self.slots.hold(timeout_seconds=0) as slot:
            return self._read_one(slot, at_least=Priority.ROUTINE)

    def _somebody_can_be_paused(self) -> bool:
        """Else a STAT case would be claimed here only to wait, while another worker may be free."""
        held = [entry.job for entry in self.held.all()]
        beyond = max(0, len(held) - self.slots.count)
        return self.can_pause and sum(job.priority is not Priority.STAT for job in held) > beyond

    def _read_one(self, slot: Slot, *, at_least: Priority) -> bool:
        with self._door:
            entry = self._claim(at_least)
            if entry is None:
                return False
            if entry.job.alone:
                with structlog.contextvars.bound_contextvars(**account.log_context(entry.job)):
                    self._read_alone(entry, slot)
                return True
        with structlog.contextvars.bound_contextvars(**account.log_context(entry.job)):
            self._read(entry, slot)
        return True

    def _claim(self, at_least: Priority) -> Entry | None:
        if self.draining.is_set():
            return None
        job = self.jobs.claim(worker_id=self.presence.id, lease_seconds=self.rhythm.lease, at_least=at_least)
        return None if job is None else self.held.add(job)

    def _read_alone(self, entry: Entry, slot: Slot) -> None:
        """It may kill this process: nobody else is held here while it is read, so nobody pays for it."""
        quiet = False
        while not quiet and not self.draining.is_set():
            quiet = self.held.wait_until(1, seconds=0.2)
        if quiet:
            self._read(entry, slot)
        else:
            self._conclude(entry, EngineStopped(begun=False))
            self.held.remove(entry)

    def _read(self, entry: Entry, slot: Slot) -> None:
        logger.info("job.claimed")
        began = account.claimed(entry.job)
        try:
            result = self._outcome_of(entry, slot)
            self.slots.leave(slot)
            account.read(entry.job, result, began=began)
            self._conclude(entry, result)
        finally:
            self.held.remove(entry)

    def _outcome_of(self, entry: Entry, slot: Slot) -> Reading | PathlaneError:
        try:
            return self.pipeline.read(entry.job, entry.cancelled, lambda: self._enter(entry, slot))
        except PathlaneError as error:
            return error
        except Exception as error:  # noqa: BLE001  # whatever it is, it concerns this job alone
            logger.error("job.error", **log.kind_and_place(error))
            return InternalError()

    def _enter(self, entry: Entry, slot: Slot) -> None:
        """Onto the device. STAT pauses another case, and one that is read alone finds nobody there.

        What is cancelled needs no slot: the engine ends it unread. Raises EngineStopped when it drains.
        """
        share = entry.job.alone or entry.job.priority is Priority.STAT
        try:
            self.slots.enter(
                slot, share=share, stop=lambda: self.draining.is_set() or entry.cancelled.is_set()
            )
        except SlotTimeout:
            if not entry.cancelled.is_set():
                raise EngineStopped(begun=False) from None

    def _conclude(self, entry: Entry, result: Reading | PathlaneError) -> None:
        """Write the end down, however long the database takes to come back, unless the lease is lost."""
        if not self.held.may_end(entry):
            logger.warning("job.given_back")
            return
        self._judge_device(result)
        began = account.now()
        while not self._stopped.is_set():
            try:
                deliveries = self._write(entry.job, result)
            except LeaseLost:
                logger.warning("job.lease_lost")
                account.lease_lost()
                return
            except StoreUnavailable:
                logger.warning("store.unavailable")
                self._stopped.wait(STORE_RETRY_SECONDS)
            else:
                if not isinstance(result, EngineStopped):
                    account.ended(entry.job, result, began=began)
                for delivery_id in deliveries:
                    self.bells.deliver(delivery_id)
                return

    def _write(self, job: Job, result: Reading | PathlaneError) -> list[str]:
        if isinstance(result, Reading):
            deliveries = self.jobs.finish(job, result)
            logger.info("job.finished", outcome=result.outcome.value, tokens=result.completion_tokens)
            return deliveries
        if isinstance(result, EngineStopped):
            self._return(job, suspect=result.begun)
            return []
        deliveries = self.jobs.fail(job, result)
        logger.warning("job.failed", code=result.code, retryable=result.retryable)
        return deliveries

    def _return(self, job: Job, *, suspect: bool) -> None:
        """Back to the queue. A suspect has used up this attempt and is read alone from now on."""
        if suspect:
            status = self.jobs.suspect(job)
            logger.warning("job.suspect", status=status.value)
            account.given_up(status)
        else:
            self.jobs.release(job)
            logger.info("job.released")

    def _judge_device(self, result: Reading | PathlaneError) -> None:
        if isinstance(result, EngineStopped) and not result.begun:
            self.draining.set()  # the engine takes nothing any more: the watchdog ends this process
        elif isinstance(result, Reading):
            self._failures = 0
        elif isinstance(result, EngineStopped | GpuOutOfMemory):
            self._failures += 1
            if self._failures == FAILURES_ALLOWED:
                logger.critical("device.quarantined", device=self.presence.device, count=self._failures)
                self.draining.set()
                self.quarantine()

    def give_back(self, suspects: Collection[Interrupt] = ()) -> None:
        """Everything that is held, at once, for others to read: this process is about to end.

        No attempt is used up, except by those whose reading is among `suspects`.
        """
        self.draining.set()
        marks = [interrupt.cancelled for interrupt in suspects]
        taken = self.held.take_back()
        for entry in taken:
            with structlog.contextvars.bound_contextvars(**account.log_context(entry.job)):
                try:
                    self._return(entry.job, suspect=any(mark is entry.cancelled for mark in marks))
                except LeaseLost:
                    logger.warning("job.lease_lost")
                    account.lease_lost()
        if taken:
            self.bells.read(len(taken))
        self.held.wait_until(0, seconds=ENDING_SECONDS)
        self._leave()

    def _leave(self) -> None:
        with self._presence_lock:
            self._has_left = True
            self.workers.leave(self.presence.id)

    def beat(self) -> None:
        """Renew every lease, stop what is no longer ours, and say that this worker is alive."""
        self.rounds += 1
        running = self.held.all()
        leases = [(entry.job.id, entry.job.attempt) for entry in running]
        held = self.jobs.renew(leases, lease_seconds=self.rhythm.lease)
        for entry in running:
            if held.get(entry.job.id, True):  # asked to stop, or no longer ours
                entry.cancelled.set()
        with self._presence_lock:
            if not self._has_left:
                self.workers.report(replace(self.presence, running=len(running)))

    def hear_cancellations(self) -> None:
        """Stop what its asker has taken back: the engine looks at its interrupts after every token."""
        running = self.held.all()
        if running:
            unwanted = self.jobs.cancellations([entry.job.id for entry in running])
            for entry in running:
                if entry.job.id in unwanted:
                    entry.cancelled.set()

    def sweep(self) -> None:
        """Give back what others lost, and ring for queued jobs while slots are free here.

        Rings that went unheard are not waited for: the jobs are read all the same.
        """
        found = self.jobs.sweep(patience_seconds=self.rhythm.patience)
        account.swept(found)
        rings = min(found.waiting, self.slots.free_here)
        if not rings or self.draining.is_set():
            return
        if not self._heard:
            self._read_unasked(rings)
        heard, self._heard = self._heard, False
        if self.bells.read(rings):
            self._listen(heard=heard)

    def _read_unasked(self, readers: int) -> None:
        logger.info("rings.unheard", count=readers)
        for number in range(readers):
            threading.Thread(target=self._work_unasked, name=f"reader {number}", daemon=True).start()

    def _work_unasked(self) -> None:
        try:
            self.work_off()
        except Exception as error:  # noqa: BLE001  # the next sweep starts another
            logger.error("round.error", **log.kind_and_place(error))

    def _listen(self, *, heard: bool) -> None:
        """Count the sweeps whose rings the broker took and nobody here heard."""
        self._unheard = 0 if heard else self._unheard + 1
        if self._unheard == UNHEARD_ALLOWED:
            logger.critical("worker.deaf", count=self._unheard)
            self.deaf()

    def _every(self, seconds: float, once: Callable[[], object]) -> None:
        pause = seconds
        while not self._stopped.wait(pause):
            pause = seconds
            try:
                once()
            except StoreUnavailable:
                logger.warning("store.unavailable")
                pause = min(seconds, STORE_RETRY_SECONDS)  # leases run on meanwhile
            except Exception as error:  # noqa: BLE001  # the thread must outlive any one round
                logger.error("round.error", **log.kind_and_place(error))
