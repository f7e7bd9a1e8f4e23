"""Loop: the one thread that owns the model; everybody else leaves a prompt and waits.

In: prompts with their interrupts, from any thread. Out: a future each, with a completion or a typed
error. It knows no jobs, no slots and no library that runs models: a step is schedule, run, collect.
Prompts are prepared in the asker's thread, so that pictures are scaled while others are being answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from worker import log
from worker.engine.reasoner import (
    Ask,
    Completion,
    Finish,
    Identity,
    Interrupt,
    Prepared,
    Prompt,
    Reasoner,
    Result,
)
from worker.engine.scheduler import Plan, Scheduler
from worker.errors import (
    EngineStopped,
    GpuOutOfMemory,
    InternalError,
    ModelUnavailable,
    PathlaneError,
    PromptUnreadable,
)
from worker.jobs.request import Priority

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Whether the model moves, for a watchdog."""

    #: when something was last written, or loading began, on the scale of the loop's clock
    at: float
    #: whether a step is running, or the model is being loaded
    busy: bool
    #: whether the loop's thread has ended although nobody closed the loop
    crashed: bool = False
    #: what shares the step that runs, or the one that the thread ended in
    in_step: tuple[Interrupt, ...] = ()


class EngineLoop:
    """Start once, prepare and ask from any thread, close once."""

    def __init__(self, reasoner: Reasoner, *, rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        """At most `rows` answers are written side by side, and no more than the reasoner can take."""
        self._reasoner, self._rows, self._clock = reasoner, rows, clock
        self._scheduler = Scheduler(rows, can_pause=reasoner.can_pause)
        self._futures: dict[Ask, Future[Completion]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._progress = Progress(at=clock(), busy=False)
        self._identity: Future[Identity] = Future()
        self._thread: threading.Thread | None = None

    @property
    def can_pause(self) -> bool:
        """Whether STAT enters although all rows are taken."""
        return self._reasoner.can_pause

    def start(self, device: str) -> Identity:
        """Load the model in the loop's own thread, as CUDA keeps its current device per thread.

        Raises ModelUnavailable, after which the loop is closed.
        """
        self._thread = threading.Thread(target=self._run, args=(device,), name="engine", daemon=True)
        self._thread.start()
        return self._identity.result()

    def prepare(self, prompt: Prompt) -> Prepared:
        """In the asker's thread, which needs no row yet. Raises the typed error of a prompt that can never be
        answered here, and EngineStopped after `close`."""
        if self._closed:
            raise EngineStopped(begun=False)
        try:
            prepared = self._reasoner.prepare(prompt)
        except PathlaneError:
            raise
        except Exception as error:  # whatever is wrong with these pixels, its neighbours are not
            logger.warning("prompt.unreadable", **log.kind_and_place(error))
            raise PromptUnreadable from error
        if not self._scheduler.fits(prepared.samples):
            raise PromptUnreadable(
                f"It wants {prepared.samples} samples; this worker writes {self._scheduler.rows} at once."
            )
        return prepared

    def ask(
        self,
        prepared: Prepared,
        interrupt: Interrupt,
        *,
        priority: Priority = Priority.ROUTINE,
        alone: bool = False,
    ) -> Future[Completion]:
        """With `alone` nobody shares a step with it. After `close` the future has failed already."""
        future: Future[Completion] = Future()
        most = 0 if alone else None
        ask = Ask(prepared=prepared, interrupt=interrupt, priority=priority, most_beside=most)
        with self._changed:
            if self._closed:
                future.set_exception(EngineStopped(begun=False))
            else:
                self._futures[ask] = future
                self._scheduler.add(ask)
                self._changed.notify()
        return future

    def progress(self) -> Progress:
        return self._progress

    def close(self, timeout: float | None = None) -> bool:
        """Fail what waits, let what has begun end. False if it has not ended within `timeout` seconds.

        To cut it short, set the interrupts.
        """
        self._fail_waiting()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, device: str) -> None:
        crashed = True
        try:
            if self._load(device):
                while self._has_work():
                    self._step()
            crashed = False
        except BaseException as error:  # noqa: BLE001  the watchdog ends the process; here the log says why
            logger.error("engine.lost", rows=len(self._progress.in_step), **log.kind_and_place(error))
        finally:  # whatever ends this thread, nobody may be left waiting
            self._progress = replace(self._progress, crashed=crashed)
            self._fail_everybody()
            if not self._identity.done():
                self._identity.set_exception(ModelUnavailable())

    def _load(self, device: str) -> bool:
        self._progress = Progress(at=self._clock(), busy=True)
        try:
            identity = self._reasoner.load(device)
            self._scheduler.rows = min(self._rows, self._reasoner.rows)
            self._scheduler.stat_alone = self._reasoner.can_pause and self._reasoner.every_row_costs
        except PathlaneError as error:
            self._identity.set_exception(error)
            return False
        except Exception as error:  # noqa: BLE001  whatever a library raises, start() must answer
            logger.error("engine.load_failed", **log.kind_and_place(error))
            self._identity.set_exception(ModelUnavailable("The log names the kind of error."))
            return False
        self._progress = Progress(at=self._clock(), busy=False)
        self._identity.set_result(identity)
        return True

    def _has_work(self) -> bool:
        """Wait until somebody asks. False: the loop is closed, and all that had begun is over."""
        with self._changed:
            while not self._closed and self._scheduler.is_idle:
                self._changed.wait()
            return not self._scheduler.is_idle

    def _step(self) -> None:
        plan = self._scheduled()
        results = self._moved_on(plan)
        self._collect(results)

    def _scheduled(self) -> Plan:
        now = self._clock()
        with self._changed:
            for ask in self._scheduler.unseen:
                if self._futures[ask].cancelled():
                    self._end(ask, EngineStopped(begun=False))
                elif reason := ask.interrupt.reason(now):
                    self._end(ask, _unread(reason))
            plan = self._scheduler.schedule()
            for ask in plan.enter:
                ask.begun = True
                future = self._futures[ask]
                if not future.running() and not future.set_running_or_notify_cancel():
                    ask.interrupt.cancelled.set()
        self._note_progress(moved=bool(plan.enter))
        return plan

    def _moved_on(self, plan: Plan) -> list[tuple[Ask, Result]]:
        """Run one step. If it failed as a whole, all that had begun is read again, one by one."""
        running = tuple(self._scheduler.running)
        if not running:
            return []
        failure: PathlaneError = InternalError()
        rows, began = [ask.rows for ask in running], self._clock()
        try:
            return self._reasoner.step(plan.enter, plan.pause, self._moved)
        except EngineStopped:
            raise  # the device is lost to this process: no step after this one can succeed
        except PathlaneError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  an unforeseen error ends these requests, never the loop
            logger.error("engine.step_failed", rows=len(running), **log.kind_and_place(error))
        finally:
            _share(self._clock() - began, running, rows)
        self._reasoner.clear()
        begun = self._scheduler.begun
        if isinstance(failure, GpuOutOfMemory) or len(begun) == 1:
            return [(ask, failure) for ask in begun]
        for ask in begun:
            self._scheduler.again(ask, most_beside=0)
        return []

    def _collect(self, results: Sequence[tuple[Ask, Result]]) -> None:
        """What ended is told. What found no memory is read once more, with half as many rows beside it."""
        fewer = sum(ask.prepared.samples for ask in self._scheduler.running) // 2
        with self._changed:
            for ask, result in results:
                if isinstance(result, GpuOutOfMemory) and not ask.again:
                    self._scheduler.again(ask, most_beside=max(0, fewer - ask.prepared.samples))
        over = [(ask, result) for ask, result in results if ask.begun]
        with self._changed:
            for ask, _ in over:
                self._scheduler.end(ask)
        self._note_progress(moved=bool(results))
        for ask, result in over:
            self._tell(ask, result)

    def _note_progress(self, *, moved: bool) -> None:
        """A step in which nobody enters, ends or is written for is no progress: a server may be silent."""
        at = self._clock() if moved else self._progress.at
        in_step = tuple(ask.interrupt for ask in self._scheduler.running)
        self._progress = Progress(at=at, busy=bool(in_step), in_step=in_step)

    def _moved(self) -> None:
        self._progress = replace(self._progress, at=self._clock())

    def _end(self, ask: Ask, result: Result) -> None:
        self._scheduler.end(ask)
        self._tell(ask, result)

    def _tell(self, ask: Ask, result: Result) -> None:
        future = self._futures.pop(ask)
        if not future.running() and not future.set_running_or_notify_cancel():
            return
        if isinstance(result, PathlaneError):
            future.set_exception(result)
        else:
            future.set_result(replace(result, device_seconds=ask.device_seconds))

    def _fail_waiting(self) -> None:
        with self._changed:
            self._closed = True
            for ask in self._scheduler.unseen:
                self._end(ask, EngineStopped(begun=False))
            self._changed.notify_all()

    def _fail_everybody(self) -> None:
        """Those in the step that ended the thread are its suspects; those put aside are not."""
        self._fail_waiting()
        for ask in self._scheduler.begun:
            self._tell(ask, EngineStopped(begun=ask in self._scheduler.running))


def _share(seconds: float, asks: Sequence[Ask], rows: Sequence[int]) -> None:
    """A step's time, divided by how many rows each had in it when it began."""
    whole = sum(rows)
    for ask, own in zip(asks, rows, strict=True):
        ask.device_seconds += seconds * own / whole


def _unread(reason: Finish) -> Completion:
    return Completion(text="", finish=reason, prompt_tokens=0, completion_tokens=0, seconds=0.0, rows=0)
