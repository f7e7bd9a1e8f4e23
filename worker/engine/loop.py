"""Loop: the one thread that owns the model; everybody else leaves a prompt and waits.

In: prompts with their interrupts, from any thread. Out: a future each, with a completion or a typed
error. It knows no jobs, no slots and no library that runs models. Callers see `submit -> Future` and
nothing of the steps, so an engine whose requests join and leave between tokens fits the same door.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from worker import log
from worker.engine.reasoner import Completion, Finish, Identity, Interrupt, Prompt, Reasoner
from worker.errors import EngineStopped, InternalError, ModelUnavailable, PathlaneError

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Whether the model moves, for a watchdog."""

    #: when the last token was written, or loading began, on the scale of the loop's clock
    at: float
    #: whether a step is running, or the model is being loaded
    busy: bool
    #: whether the loop's thread has ended although nobody closed the loop
    crashed: bool = False
    #: what shares the step that runs, or the one that the thread ended in
    in_step: tuple[Interrupt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    prompt: Prompt
    interrupt: Interrupt
    alone: bool
    future: Future[Completion] = field(default_factory=Future)


class EngineLoop:
    """Start once, submit from any thread, close once."""

    def __init__(self, reasoner: Reasoner, *, rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._reasoner, self._rows, self._clock = reasoner, rows, clock
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._progress = Progress(at=clock(), busy=False)
        self._in_step: tuple[Interrupt, ...] = ()
        self._identity: Future[Identity] = Future()
        self._thread: threading.Thread | None = None

    def start(self, device: str) -> Identity:
        """Load the model in the loop's own thread, as CUDA keeps its current device per thread.

        Raises ModelUnavailable, after which the loop is closed.
        """
        self._thread = threading.Thread(target=self._run, args=(device,), name="engine", daemon=True)
        self._thread.start()
        return self._identity.result()

    def submit(self, prompt: Prompt, interrupt: Interrupt, *, alone: bool = False) -> Future[Completion]:
        """Ask. With `alone` no other request shares the step. After `close` the future has failed already."""
        request = _Request(prompt=prompt, interrupt=interrupt, alone=alone)
        with self._changed:
            if self._closed:
                request.future.set_exception(EngineStopped(begun=False))
            else:
                self._waiting.append(request)
                self._changed.notify()
        return request.future

    def progress(self) -> Progress:
        return self._progress

    def close(self, timeout: float | None = None) -> bool:
        """Fail what waits, let the step that runs end. False if it has not ended within `timeout` seconds.

        To cut that step short, set its interrupts.
        """
        self._fail_waiting()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self, device: str) -> None:
        batch: list[_Request] = []
        crashed = True
        try:
            if self._load(device):
                while batch := self._next():
                    self._step(batch)
            crashed = False
        except BaseException as error:  # noqa: BLE001  the watchdog ends the process; here the log says why
            logger.error("engine.lost", rows=len(batch), **log.kind_and_place(error))
        finally:  # whatever ends this thread, nobody may be left waiting
            self._progress = replace(self._progress, crashed=crashed)
            self._fail_waiting()
            for request in batch:
                if not request.future.done():
                    request.future.set_exception(EngineStopped())
            if not self._identity.done():
                self._identity.set_exception(ModelUnavailable())

    def _moved(self) -> None:
        self._progress = Progress(at=self._clock(), busy=True, in_step=self._in_step)

    def _load(self, device: str) -> bool:
        self._moved()
        try:
            identity = self._reasoner.load(device)
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

    def _next(self) -> list[_Request]:
        """Wait for requests and take those that share the next step; empty once the loop is closed."""
        with self._changed:
            while not self._closed:
                if batch := self._take():
                    return batch
                self._changed.wait()
        return []

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        while self._waiting and len(batch) < self._rows:
            if batch and (batch[0].alone or self._waiting[0].alone):
                break
            request = self._waiting.popleft()
            if not self._dropped(request):
                batch.append(request)
        return batch

    def _dropped(self, request: _Request) -> bool:
        """Whether nobody wants an answer any more; then the request has been resolved here, unread."""
        if not request.future.set_running_or_notify_cancel():
            return True
        reason = request.interrupt.reason(self._clock())
        if reason is not None:
            request.future.set_result(_unread(reason))
        return reason is not None

    def _step(self, batch: Sequence[_Request]) -> None:
        self._in_step = tuple(request.interrupt for request in batch)
        results = self._read(batch)
        self._in_step = ()
        self._progress = Progress(at=self._clock(), busy=False)
        for request, result in zip(batch, results, strict=True):
            if isinstance(result, PathlaneError):
                request.future.set_exception(result)
            else:
                request.future.set_result(result)

    def _read(self, batch: Sequence[_Request]) -> list[Completion | PathlaneError]:
        """One result a request. A step that failed as a whole is done again, one by one."""
        failure: PathlaneError = InternalError()
        self._moved()
        try:
            results = self._reasoner.read(
                [request.prompt for request in batch], [request.interrupt for request in batch], self._moved
            )
        except EngineStopped:
            raise  # the device is lost to this process: no step after this one can succeed
        except PathlaneError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  an unforeseen error ends these requests, never the loop
            logger.error("engine.step_failed", rows=len(batch), **log.kind_and_place(error))
        else:
            if len(results) == len(batch):
                return results
        if len(batch) == 1:
            return [failure]
        return [self._read([request])[0] for request in batch]

    def _fail_waiting(self) -> None:
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for request in waiting:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(EngineStopped(begun=False))


def _unread(reason: Finish) -> Completion:
    return Completion(text="", finish=reason, prompt_tokens=0, completion_tokens=0, seconds=0.0, rows=0)
