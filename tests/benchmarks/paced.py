"""Paced: the in-flight engine over a device that takes as long as it is told, and costs no core meanwhile, as a GPU.

In: the seconds of a step and of reading a prompt. Out: a Reasoner whose answers mean nothing. All that the engine does
on the host is the product's own, token by token: prompts are prepared, rows enter and leave, tokens are chosen, texts
put together. Of the model itself the host's part of reading a prompt stands in as so many small tensor operations,
each of which gives the interpreter lock away; a step is one, as a replayed graph is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.reasoner import Identity

#: what the host hands to a GPU for one prompt: some 2,400 operations of Qwen2.5-VL-3B
OPERATIONS = 2400


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """In seconds."""

    step: float
    prompt: float


class Paced(InFlightReasoner):
    """A `Reasoner`."""

    #: none of a GPU's rows costs others anything that matters
    every_row_costs = False

    def __init__(self, *given: Any, pace: Pace, **named: Any) -> None:
        super().__init__(*given, **named)
        self._pace = pace

    def load(self, device: str) -> Identity:
        identity = super().load(device)
        decoder = self._loaded()._decoder
        decoder._model = Prefill(decoder._model, self._pace.prompt)
        decoder._step = self._step_of(decoder.pool)
        return identity

    def _step_of(self, pool: Any) -> Any:
        def step(rows: int, span: int) -> None:
            pool.open_step(rows, span)
            time.sleep(self._pace.step)

        return step


class Prefill:
    """In the place of transformers' model: as long as it would take, and no number that means anything."""

    def __init__(self, model: Any, seconds: float) -> None:
        self.device, self._seconds, self._vocabulary = model.device, seconds, model.lm_head.out_features
        self._tensor = torch.zeros(1)

    def model(self, *, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        rows, length = input_ids.shape
        ready = time.perf_counter() + rows * self._seconds
        for _number in range(OPERATIONS):
            self._tensor.add_(1)
        time.sleep(max(0.0, ready - time.perf_counter()))
        return SimpleNamespace(last_hidden_state=torch.zeros(rows, length, 1))

    def lm_head(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(hidden), self._vocabulary)


def paced(reasoner: InFlightReasoner, given: Sequence[float]) -> InFlightReasoner:
    """The same reasoner at a pace: milliseconds of a step and of a prompt; none changes nothing."""
    if not given:
        return reasoner
    step, prompt = (milliseconds / 1000 for milliseconds in given)
    return Paced(
        reasoner._source, rows=reasoner._wanted_rows, max_new_tokens=reasoner._max_new_tokens,
        pace=Pace(step=step, prompt=prompt),
    )  # fmt: skip
