"""Stops: after every token, which rows of a batch are over, and why; and which may not end yet.

In: for each row its interrupt and token limit, then the tokens as `generate` writes them. Out: a flag
a row (transformers' stopping criteria may answer per row), and in the end an `Ending` a row. A row that
is over is padded from there on, so it costs its neighbours nothing but its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from worker.engine.reasoner import Finish, Interrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    finish: Finish
    #: how many tokens the row wrote, its end token included
    tokens: int


class Stops:
    """One step's stopping criterion, called by `generate` after each token."""

    def __init__(
        self,
        *,
        interrupts: Sequence[Interrupt],
        max_new_tokens: Sequence[int],
        end_ids: Collection[int],
        on_step: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interrupts, self._limits, self._end_ids = interrupts, max_new_tokens, end_ids
        self._on_step, self._clock = on_step, clock
        self._written = 0
        self._endings: list[Ending | None] = [None] * len(interrupts)

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        self._on_step()
        self._written += 1
        now = self._clock()
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self._endings[row] is None:
                self._endings[row] = self._ending(row, token, now)
        over = [ending is not None for ending in self._endings]
        return torch.tensor(over, dtype=torch.bool, device=input_ids.device)

    def endings(self) -> list[Ending]:
        """One a row, once `generate` has returned. What it stopped by itself had reached the limit."""
        ran_out = Ending(finish=Finish.LENGTH, tokens=self._written)
        return [ending or ran_out for ending in self._endings]

    def _ending(self, row: int, token: int, now: float) -> Ending | None:
        if token in self._end_ids:
            return Ending(finish=Finish.STOP, tokens=self._written)
        reason = self._interrupts[row].reason(now)
        if reason is None and self._written >= self._limits[row]:
            reason = Finish.LENGTH
        return Ending(finish=reason, tokens=self._written) if reason else None


class Hold:
    """A logits processor: no end token for a row before it has written so many."""

    def __init__(self, holds: Sequence[int], end_ids: Collection[int], start: int) -> None:
        self._holds, self._end_ids, self._start = torch.tensor(holds), list(end_ids), start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        written = input_ids.shape[1] - self._start
        held = (self._holds.to(scores.device) > written)[:, None]
        ends = scores[:, self._end_ids]
        scores[:, self._end_ids] = ends.masked_fill(held, -torch.inf)
        return scores
