"""Loops: transformers' own `generate`, as people run it: the model card's quickstart, and static batches.

In: a checkpoint and cases. Out: a text and seconds for each. Nothing of the product is used: this is what it is
compared with. Attention, dtype and threads are the same as the product's; answers are greedy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from qwen_vl_utils import process_vision_info
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

from tests.benchmarks.workload import Case
from worker.engine.prompt import messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What a run wrote, in the order of its cases."""

    texts: list[str]
    latencies: list[float]
    steps: int


class Loops:
    """One model. Inputs are prepared inside `quickstart` and `static`, unless they are handed in."""

    def __init__(self, folder: Path, device: str) -> None:
        logging.disable_progress_bar()
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True, padding_side="left")
        self._model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True
        )
        self._model.to(device).eval()

    def inputs(self, asked: Sequence[Case]) -> Any:
        """As the model card prepares them; several at once are padded on the left."""
        chats = [
            messages(
                style=prompt.style, question=prompt.question, options=prompt.options, images=prompt.images
            )
            for prompt in (case.prompt() for case in asked)
        ]
        texts = [
            self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            for chat in chats
        ]
        images, videos = process_vision_info(chats)
        return self._processor(text=texts, images=images, videos=videos, padding=True, return_tensors="pt")

    def quickstart(
        self, asked: Sequence[Case], ready: Sequence[Any] | None, on_case: Callable[[int], object]
    ) -> Texts:
        """The model card's loop: one case after the other."""
        texts, latencies = list[str](), list[float]()
        for number, case in enumerate(asked):
            began = time.perf_counter()
            inputs = self.inputs([case]) if ready is None else ready[number]
            texts += self._written(inputs, [case], [])
            latencies.append(time.perf_counter() - began)
            on_case(1)
        return Texts(texts=texts, latencies=latencies, steps=sum(case.tokens for case in asked))

    def static(
        self, asked: Sequence[Case], size: int, ready: Sequence[Any] | None, on_case: Callable[[int], object]
    ) -> Texts:
        """Batches in order of arrival, each of which waits for its longest answer."""
        texts, latencies, steps = list[str](), list[float](), 0
        for number, batch in enumerate(batches(asked, size)):
            began = time.perf_counter()
            inputs = self.inputs(batch) if ready is None else ready[number]
            texts += self._written(inputs, batch, [Enough(inputs["input_ids"].shape[1], batch)])
            latencies += [time.perf_counter() - began] * len(batch)
            steps += max(case.tokens for case in batch)
            on_case(len(batch))
        return Texts(texts=texts, latencies=latencies, steps=steps)

    @torch.inference_mode()
    def _written(self, inputs: Any, asked: Sequence[Case], stops: list[Any]) -> list[str]:
        longest = max(case.tokens for case in asked)
        written = self._model.generate(
            **inputs.to(self._model.device),
            max_new_tokens=longest,
            min_new_tokens=longest,
            do_sample=False,
            stopping_criteria=stops,
        )
        begin = inputs["input_ids"].shape[1]
        trimmed = [row[begin : begin + case.tokens] for row, case in zip(written, asked, strict=True)]
        texts: list[str] = self._processor.batch_decode(
            trimmed, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts


class Enough:
    """Of a batch: whose answer is as long as it shall be. The others go on, and its row writes padding."""

    def __init__(self, begin: int, asked: Sequence[Case]) -> None:
        self._ends = torch.tensor([begin + case.tokens for case in asked])

    def __call__(self, ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        return ids.shape[1] >= self._ends.to(ids.device)


def batches(asked: Sequence[Case], size: int) -> list[Sequence[Case]]:
    return [asked[begin : begin + size] for begin in range(0, len(asked), size)]
