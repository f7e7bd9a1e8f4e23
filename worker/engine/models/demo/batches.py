"""Batches: drawn tiles with several questions each, as tensors.

In: a seed, the number of a step, a processor. Out: a `Batch`; the same seed and number give the
same batch in any process. It knows no weights and no optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import Qwen2_5_VLProcessor

from worker.engine.models.demo.questions import Exchange, Form, ask
from worker.engine.models.demo.tiles import Stain, Tile, draw_tile
from worker.engine.prompt import messages
from worker.jobs.request import Style

Rng = np.random.Generator

#: label of a token that is not learned
IGNORED: Final = -100
#: what separates batches from everything else that is drawn from the same seed
_STREAM: Final = 1
_SIDES: Final = ((112, 112), (112, 112), (112, 112), (140, 84), (84, 140), (168, 56))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows are image-major: `rows / images` questions about the first image, then about the second."""

    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor
    #: which stain each image has, as a place in `Stain`
    stains: torch.Tensor
    input_ids: torch.Tensor
    labels: torch.Tensor
    #: 1 where a token stands for a part of the image
    mm_token_type_ids: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is in a run, and in each of its batches."""

    seed: int
    steps: int
    images: int
    questions: int
    #: how the questions are put, each as often as it stands here
    forms: tuple[Form, ...] = tuple(Form)
    #: number of the first step: batches of another number are other batches
    first: int = 0


class Batches(Dataset[Batch]):
    """All batches of one run, each made when it is asked for."""

    def __init__(self, plan: Plan, processor: Qwen2_5_VLProcessor) -> None:
        self._plan = plan
        self._processor = processor

    def __len__(self) -> int:
        return self._plan.steps

    def __getitem__(self, step: int) -> Batch:
        plan = self._plan
        rng = np.random.default_rng([plan.seed, _STREAM, plan.first + step])
        tiles = [_tile(rng) for _ in range(plan.images)]
        exchanges = [_exchange(rng, tile.stain, plan.forms) for tile in tiles for _ in range(plan.questions)]
        return _tensors(self._processor, tiles, exchanges)


def text_of(processor: Qwen2_5_VLProcessor, exchange: Exchange, images: int = 1) -> str:
    """The prompt as a model of this family sees it, up to where its reply begins."""
    turns = messages(
        style=exchange.style, question=exchange.question, options=exchange.options, images=[None] * images
    )
    return str(processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _tile(rng: Rng) -> Tile:
    """Sometimes drawn larger than the model sees it, so that scaling down is part of what it learns."""
    width, height = _SIDES[int(rng.integers(len(_SIDES)))]
    return draw_tile(rng, width, height)


def _exchange(rng: Rng, stain: Stain, forms: tuple[Form, ...]) -> Exchange:
    form = forms[int(rng.integers(len(forms)))]
    return ask(rng, stain, form, Style.COT if rng.random() < 0.5 else Style.COD)


def _tensors(processor: Qwen2_5_VLProcessor, tiles: list[Tile], exchanges: list[Exchange]) -> Batch:
    seen = processor.image_processor(
        images=[Image.fromarray(tile.pixels) for tile in tiles], return_tensors="pt"
    )
    each = len(exchanges) // len(tiles)
    tokens = (seen["image_grid_thw"].prod(dim=1) // 4).repeat_interleave(each).tolist()
    rows = [_row(processor, exchange, count) for exchange, count in zip(exchanges, tokens, strict=True)]
    longest = max(len(ids) for ids, _ in rows)
    padding = processor.tokenizer.pad_token_id
    ids = torch.tensor([ids + [padding] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in rows])
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return Batch(
        pixel_values=seen["pixel_values"],
        image_grid_thw=seen["image_grid_thw"],
        stains=torch.tensor([list(Stain).index(tile.stain) for tile in tiles]),
        input_ids=ids,
        labels=labels,
        mm_token_type_ids=(ids == image).long(),
    )


def _row(
    processor: Qwen2_5_VLProcessor, exchange: Exchange, image_tokens: int
) -> tuple[list[int], list[int]]:
    prompt = text_of(processor, exchange).replace("<|image_pad|>", "<|image_pad|>" * image_tokens)
    asked = processor.tokenizer(prompt)["input_ids"]
    reply = processor.tokenizer(f"{exchange.reply}<|im_end|>")["input_ids"]
    return asked + reply, [IGNORED] * len(asked) + reply
