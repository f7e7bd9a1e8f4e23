"""Scheduler: who enters the next step, who waits, and who makes room. Pure: no clock, no thread, no model.

In: asks, in the order in which they came; later, which of them ended. Out: for each step, who enters and
who is paused. An ask is waiting, running or paused until it ends; paused ones wait in their old place.
STAT enters at once: it pauses what is less urgent (docs/decisions/0009); all of it, where every row makes
a step longer (docs/decisions/0020).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from worker.engine.reasoner import Ask
from worker.jobs.request import Priority

#: steps in which a case stands aside for STAT; then it goes on beside it, so that none waits for ever
PATIENCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What changes before the next step."""

    enter: tuple[Ask, ...] = ()
    pause: tuple[Ask, ...] = ()


class Scheduler:
    """Two lists: who waits, the most urgent and oldest first, and who runs, in the order of entering."""

    def __init__(self, rows: int, *, can_pause: bool, stat_alone: bool = False) -> None:
        """With `stat_alone`, nobody else is in a step with STAT, but for who has lost patience."""
        self.rows, self.stat_alone = rows, stat_alone
        self.waiting: list[Ask] = []
        self.running: list[Ask] = []
        self._can_pause = can_pause
        self._arrivals = count()
        self._place: dict[Ask, tuple[int, int]] = {}

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def unseen(self) -> list[Ask]:
        """Those that the model has not begun to read."""
        return [ask for ask in self.waiting if not ask.begun]

    @property
    def begun(self) -> list[Ask]:
        """Those that run or are paused."""
        return [*self.running, *(ask for ask in self.waiting if ask.begun)]

    def fits(self, samples: int) -> bool:
        """Whether an ask with so many could ever enter."""
        return 1 <= samples <= self.rows

    def add(self, ask: Ask) -> None:
        self._place[ask] = (ask.priority.level, next(self._arrivals))
        self._wait(ask)

    def schedule(self) -> Plan:
        """Let in from the front while there is room. Whoever does not fit holds back those behind."""
        enter: list[Ask] = []
        pause: list[Ask] = []
        while self.waiting:
            ask = self.waiting[0]
            victims = self._victims(ask, enter)
            if victims is None:
                break
            del self.waiting[0]
            self.running = [*(other for other in self.running if other not in victims), ask]
            enter.append(ask)
            pause += victims
        for ask in pause:
            self._wait(ask)
        if self.stat_alone and _has_stat(self.running):
            for ask in self.waiting:
                ask.steps_aside += 1
        return Plan(enter=tuple(enter), pause=tuple(pause))

    def end(self, ask: Ask) -> None:
        """It is over, wherever it was."""
        for asks in (self.running, self.waiting):
            if ask in asks:
                asks.remove(ask)
        del self._place[ask]

    def again(self, ask: Ask, *, most_beside: int) -> None:
        """Back to its old place, to be read from the start with fewer beside it."""
        ask.most_beside, ask.rows = most_beside, ask.prepared.samples
        ask.again, ask.begun = True, False
        if ask in self.running:
            self.running.remove(ask)
        if ask not in self.waiting:
            self._wait(ask)

    def _wait(self, ask: Ask) -> None:
        insort(self.waiting, ask, key=self._place.__getitem__)

    def _victims(self, ask: Ask, entered: Sequence[Ask]) -> list[Ask] | None:
        """Who must be paused so that it can enter now; None: it cannot."""
        if self._all_agree([*self.running, ask]):
            return []
        if ask.priority is not Priority.STAT or not self._can_pause:
            return None
        youngest_first = sorted(self.running, key=self._place.__getitem__, reverse=True)
        movable = [other for other in youngest_first if _may_be_paused(other) and other not in entered]
        victims = [other for other in movable if self.stat_alone and _stands_aside(other)]
        for other in (None, *(each for each in movable if each not in victims)):
            victims += [other] if other else []
            if self._all_agree([*(each for each in self.running if each not in victims), ask]):
                return victims
        return None

    def _all_agree(self, asks: Sequence[Ask]) -> bool:
        """Whether these may share a step: their rows fit, and none has more beside it than it may."""
        if self.stat_alone and _has_stat(asks) and any(_stands_aside(ask) for ask in asks):
            return False
        total = sum(ask.rows for ask in asks)
        return total <= self.rows and all(
            ask.most_beside is None or total - ask.rows <= ask.most_beside for ask in asks
        )


def _has_stat(asks: Sequence[Ask]) -> bool:
    return any(ask.priority is Priority.STAT for ask in asks)


def _stands_aside(ask: Ask) -> bool:
    """Whether it leaves a step to STAT alone."""
    return ask.priority is not Priority.STAT and ask.steps_aside < PATIENCE


def _may_be_paused(ask: Ask) -> bool:
    return ask.priority is not Priority.STAT and ask.most_beside != 0
