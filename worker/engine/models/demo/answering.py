"""Answering: a checkpoint asked many questions about many pictures, the way the model card says.

In: a folder with a checkpoint, and questions with their pictures. Out: the answer found in each reply,
empty where there is none. It knows no right answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from qwen_vl_utils import process_vision_info
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from worker.engine.models.demo.questions import Exchange
from worker.engine.prompt import messages, parse
from worker.engine.reasoner import Finish

#: the longest reply of a trained checkpoint has about half as many
_MOST_TOKENS: Final = 96
_ROWS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question about one picture."""

    picture: Image.Image
    exchange: Exchange


class Answerer:
    """A loaded checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._processor: Any = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, padding_side="left", local_files_only=True
        )
        self._model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )

    def answers(self, asked: Sequence[Asked]) -> Iterator[str]:
        """One answer a question, in order."""
        for first in range(0, len(asked), _ROWS):
            yield from self._batch(asked[first : first + _ROWS])

    def _batch(self, asked: Sequence[Asked]) -> Iterator[str]:
        turns = [
            messages(
                style=each.exchange.style,
                question=each.exchange.question,
                options=each.exchange.options,
                images=[each.picture],
            )
            for each in asked
        ]
        texts = [
            self._processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            for turn in turns
        ]
        images, _ = process_vision_info(turns)
        inputs = self._processor(text=texts, images=images, padding=True, return_tensors="pt")
        with torch.inference_mode():
            written = self._model.generate(**inputs, max_new_tokens=_MOST_TOKENS)
        new = written[:, inputs["input_ids"].shape[1] :]
        replies = self._processor.batch_decode(new, skip_special_tokens=True)
        for reply, each in zip(replies, asked, strict=True):
            yield parse(reply, Finish.STOP, each.exchange.options).answer
