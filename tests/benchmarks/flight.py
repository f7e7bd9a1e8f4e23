"""Flight: cases through the product's engine loop and any of its reasoners, without store, broker or courier.

In: a reasoner, cases and slots. Out: a text and seconds for each; seconds of STAT cases under a full backlog. Whoever
asks prepares its prompt, as in the worker. A served model is a reasoner too.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.benchmarks.loops import Texts
from tests.benchmarks.workload import Case
from worker.engine.loop import EngineLoop
from worker.engine.reasoner import Interrupt, Prompt, Reasoner
from worker.jobs.request import Priority

#: tokens of a STAT case's answer
STAT_TOKENS = 64


class Counted:
    """A reasoner that counts its steps; with `ready`, prompts were prepared before."""

    def __init__(self, reasoner: Reasoner) -> None:
        self._reasoner = reasoner
        self.can_pause = reasoner.can_pause
        self.load, self.clear = reasoner.load, reasoner.clear
        self.ready: dict[str, Any] = {}
        self.steps = 0

    @property
    def rows(self) -> int:
        return self._reasoner.rows

    @property
    def every_row_costs(self) -> bool:
        return self._reasoner.every_row_costs

    def prepare(self, prompt: Prompt) -> Any:
        return self.ready.get(prompt.question) or self._reasoner.prepare(prompt)

    def step(self, *arguments: Any) -> Any:
        self.steps += 1
        return self._reasoner.step(*arguments)


class Flight:
    """One engine loop that is ready."""

    def __init__(self, reasoner: Counted, slots: int, device: str) -> None:
        self._reasoner, self._slots = reasoner, slots
        self._loop = EngineLoop(reasoner, rows=slots)
        self.identity = self._loop.start(device)

    @contextmanager
    def open(self) -> Iterator[Flight]:
        try:
            yield self
        finally:
            self._loop.close(timeout=30)

    def prepare(self, asked: Sequence[Case]) -> None:
        """Outside of any timing."""
        self._reasoner.ready = {case.question: self._reasoner.prepare(case.prompt()) for case in asked}

    def read(self, asked: Sequence[Case], on_case: Callable[[int], object]) -> Texts:
        """With as many askers as slots: whoever has its text asks the next."""
        texts, latencies = [""] * len(asked), [0.0] * len(asked)
        steps = self._reasoner.steps

        def ask(number: int) -> None:
            texts[number], latencies[number] = self._ask(asked[number])
            on_case(1)

        in_threads(self._slots, ask, range(len(asked)))
        return Texts(texts=texts, latencies=latencies, steps=self._reasoner.steps - steps)

    def stat(self, asked: Sequence[Case], count: int) -> list[float]:
        """Seconds of STAT cases, one after the other, while every row is taken and others wait."""
        over, latencies = threading.Event(), list[float]()
        backlog = itertools.takewhile(lambda _: not over.is_set(), itertools.cycle(asked))
        askers = 2 * self._slots
        feeding = threading.Thread(target=in_threads, args=(askers, self._ask, backlog), daemon=True)
        feeding.start()
        for number in range(count):
            time.sleep(0.05 * (1 + number % 3))
            urgent = Case(name=f"stat {number}", number=number, tokens=STAT_TOKENS)
            latencies.append(self._ask(urgent, Priority.STAT)[1])
        over.set()
        feeding.join()
        return latencies

    def _ask(self, case: Case, priority: Priority = Priority.ROUTINE) -> tuple[str, float]:
        began = time.perf_counter()
        prepared = self._loop.prepare(case.prompt())
        completion = self._loop.ask(prepared, Interrupt(), priority=priority).result()
        assert completion.completion_tokens == case.tokens, completion.finish
        return completion.text, time.perf_counter() - began


def in_threads(count: int, do: Callable[[Any], object], things: Any) -> None:
    """All things, `count` at a time. Raises what the first of them raised."""
    lock, failures = threading.Lock(), list[BaseException]()
    left = iter(things)

    def work() -> None:
        while not failures:
            with lock:
                thing = next(left, lock)
            if thing is lock:
                return
            try:
                do(thing)
            except BaseException as error:  # noqa: BLE001  told to whoever waits for all of them
                failures.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
