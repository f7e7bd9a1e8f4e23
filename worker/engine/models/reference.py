"""Reference: transformers' own `generate`, as the model card runs Patho-R1: the measure of any other engine.

In: a checkpoint; then prompts. Out: an Identity; then completions, greedy ones only. A step is a whole
answer: with one row it is the model card's loop, whose readings do not depend on who else asks; with more,
a static batch that waits for its longest answer. torch is imported by `load` and by nothing else here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from worker.engine.models.loading import Source, load
from worker.engine.reasoner import Ask, Completion, Identity, Prepared, Prompt, Result
from worker.errors import EngineStopped, GpuOutOfMemory, PromptUnreadable

if TYPE_CHECKING:
    from worker.engine.models.batch import Batches
    from worker.engine.models.qwen import Qwen

ENGINE: Final = "reference"


class ReferenceReasoner:
    """The `Reasoner` that starts its prompts together and waits for the longest answer."""

    can_pause = False
    every_row_costs = False

    def __init__(self, source: Source, *, rows: int = 1) -> None:
        self._source, self.rows = source, rows
        self._model: Qwen | None = None
        self._batches: Batches | None = None

    def load(self, device: str) -> Identity:
        """Load onto `auto`, `cpu` or `cuda:N`. Raises ModelUnavailable with a sentence on what to do."""
        self._model, identity = load(self._source, device, engine=ENGINE, packed=False)
        from worker.engine.models.batch import Batches  # noqa: PLC0415  it imports torch

        self._batches = Batches(self._model)
        return identity

    def prepare(self, prompt: Prompt) -> Prepared:
        if self._batches is None:
            raise EngineStopped(begun=False)
        if prompt.temperature > 0 or prompt.samples > 1 or prompt.logprobs:
            raise PromptUnreadable("This engine gives one greedy answer, without probabilities.")
        row = self._batches.prepare(prompt)
        return Prepared(prompt_tokens=row.question.prompt_tokens, payload=row)

    def step(
        self, enter: Sequence[Ask], _pause: Sequence[Ask], on_move: Callable[[], None] = lambda: None
    ) -> list[tuple[Ask, Result]]:
        """Answer them all."""
        if self._model is None or self._batches is None:
            raise EngineStopped
        began, size = time.monotonic(), len(enter)
        written = self._batches.write(
            [ask.prepared.payload for ask in enter], [ask.interrupt for ask in enter], on_move
        )
        if written is None:
            raise GpuOutOfMemory
        seconds = time.monotonic() - began
        return [
            (
                ask,
                Completion(
                    text=self._model.text_of(answer.ids),
                    finish=answer.finish,
                    prompt_tokens=ask.prepared.prompt_tokens,
                    completion_tokens=len(answer.ids),
                    seconds=seconds,
                    rows=size,
                ),
            )
            for ask, answer in zip(enter, written, strict=True)
        ]

    def clear(self) -> None:
        """Nothing outlives a step."""
