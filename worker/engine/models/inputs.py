"""Inputs: a prompt becomes tensors that a row can take, in the thread of whoever asks. It imports torch.

In: a prompt, the model's processor and how long a row is. Out: what one answer needs to be begun and written.
It touches no device but for pinning memory, and no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from worker.engine.models.choice import Decoding
from worker.engine.models.decoder import Opening
from worker.engine.models.qwen import Question, Qwen
from worker.engine.reasoner import Prepared, Prompt
from worker.errors import PromptUnreadable

_READ: Final = ("input_ids", "pixel_values", "image_grid_thw")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One prompt as tensors, and how its answer is to be written."""

    opening: Opening
    max_new_tokens: int
    decoding: Decoding
    #: of the first sample
    seed: int


def prepared(model: Qwen, prompt: Prompt, *, positions: int) -> Prepared:
    """Raises PromptUnreadable where prompt and answer are longer than a row, or the libraries' own errors."""
    question = model.prepare(prompt)
    needed = question.prompt_tokens + question.max_new_tokens
    if needed > positions:
        raise PromptUnreadable(f"It needs {needed} positions; this worker has {positions} for one answer.")
    decoding = Decoding(
        temperature=prompt.temperature,
        top_p=prompt.top_p,
        logprobs=prompt.logprobs,
        holds=prompt.min_new_tokens > 0,
    )
    inputs = Inputs(
        opening=_opening(model, question, question.prompt_tokens + prompt.min_new_tokens),
        max_new_tokens=question.max_new_tokens,
        decoding=decoding,
        seed=prompt.seed,
    )
    return Prepared(prompt_tokens=question.prompt_tokens, samples=prompt.samples, payload=inputs)


def _opening(model: Qwen, question: Question, hold: int) -> Opening:
    positions, offset = model.model.model.get_rope_index(
        question.tensors["input_ids"],
        mm_token_type_ids=question.tensors["mm_token_type_ids"],
        image_grid_thw=question.tensors["image_grid_thw"],
    )
    tensors = {name: question.tensors[name] for name in _READ} | {"position_ids": positions}
    tensors["pixel_values"] = tensors["pixel_values"].to(model.model.dtype)
    if model.device != "cpu":  # a copy from pinned memory does not wait for the device
        tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
    return Opening(tensors=tensors, length=question.prompt_tokens, offset=int(offset), hold=hold)
