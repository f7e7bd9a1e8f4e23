"""Batch: several prompts through one call of transformers' `generate`. Importing this imports torch.

In: rows, each one prompt as tensors, with its limits. Out: what each row wrote and why it ended. Rows of
one call start together and are padded on the left; each has its own limit, deadline and cancellation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from worker.engine.models.qwen import Question, Qwen
from worker.engine.models.stops import Hold, Stops
from worker.engine.reasoner import Finish, Interrupt, Prompt
from worker.errors import EngineStopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    question: Question
    min_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    #: the end token included
    ids: list[int]
    finish: Finish


class Batches:
    """Use it from the thread that loaded the model; `prepare` from any."""

    def __init__(self, model: Qwen) -> None:
        self._qwen = model

    def prepare(self, prompt: Prompt) -> Row:
        return Row(question=self._qwen.prepare(prompt), min_new_tokens=prompt.min_new_tokens)

    def write(
        self, rows: Sequence[Row], interrupts: Sequence[Interrupt], on_move: Callable[[], None] = lambda: None
    ) -> list[Answer] | None:
        """None: the device ran out of memory. Raises EngineStopped when it is lost."""
        if not rows:
            return []
        try:
            return self._generate(rows, interrupts, on_move)
        except torch.OutOfMemoryError:
            pass  # its traceback keeps the step's tensors alive: they are freed after this block
        except torch.AcceleratorError as error:
            raise EngineStopped from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    @torch.inference_mode()
    def _generate(
        self, rows: Sequence[Row], interrupts: Sequence[Interrupt], on_move: Callable[[], None]
    ) -> list[Answer]:
        settings = self._qwen.model.generation_config
        inputs = _left_padded([row.question.tensors for row in rows], settings.pad_token_id)
        start = inputs["input_ids"].shape[1]
        limits = [row.question.max_new_tokens for row in rows]
        stops = Stops(
            interrupts=interrupts, max_new_tokens=limits, end_ids=self._qwen.end_ids, on_step=on_move
        )
        holds = [row.min_new_tokens for row in rows]
        written = self._qwen.model.generate(
            **{name: tensor.to(self._qwen.device) for name, tensor in inputs.items()},
            max_new_tokens=max(limits),
            stopping_criteria=[stops],
            logits_processor=[Hold(holds, self._qwen.end_ids, start)] if any(holds) else [],
        )
        return [
            Answer(ids=ids[: ending.tokens], finish=ending.finish)
            for ids, ending in zip(written[:, start:].tolist(), stops.endings(), strict=True)
        ]


def _left_padded(rows: Sequence[Mapping[str, torch.Tensor]], pad: int) -> dict[str, torch.Tensor]:
    """Prompts of different lengths as one batch, each ending at the right edge."""
    fills = {"input_ids": pad, "attention_mask": 0, "mm_token_type_ids": 0}
    length = max(row["input_ids"].shape[1] for row in rows)
    batch = {name: torch.cat([row[name] for row in rows]) for name in rows[0] if name not in fills}
    for name in fills.keys() & rows[0].keys():
        padded = [
            torch.nn.functional.pad(row[name], (length - row[name].shape[1], 0), value=fills[name])
            for row in rows
        ]
        batch[name] = torch.cat(padded)
    return batch
