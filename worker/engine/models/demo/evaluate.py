"""Evaluate: how often a checkpoint names the stain, on tiles drawn for this and on real photographs.

In: a checkpoint, a number of tiles, a seed, a folder of photographs. Out: one `Scored` a
question. It changes no weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from worker.engine.models.demo.answering import Answerer, Asked
from worker.engine.models.demo.figures import UNREADABLE, Scored
from worker.engine.models.demo.photographs import Photograph, Variant, find_photographs
from worker.engine.models.demo.questions import Exchange, Form, ask
from worker.engine.models.demo.tiles import Stain, draw_tile
from worker.jobs.request import Style

#: what separates these tiles from the ones that were learned from, at the same seed
_STREAM: Final = 3
_SIDES: Final = ((112, 112), (224, 224), (256, 192), (168, 240))


def score_tiles(answerer: Answerer, count: int, seed: int) -> list[Scored]:
    """Each tile is asked about in every form and both styles."""
    asked, stains = [], []
    for number in range(count):
        rng = np.random.default_rng([seed, _STREAM, number])
        width, height = _SIDES[number % len(_SIDES)]
        tile = draw_tile(rng, width, height)
        picture = Image.fromarray(tile.pixels)
        for exchange in _every_kind(rng, tile.stain):
            asked.append(Asked(picture=picture, exchange=exchange))
            stains.append(tile.stain)
    answers = answerer.answers(asked)
    return [_scored(stain, each, answer) for stain, each, answer in zip(stains, asked, answers, strict=True)]


def score_photographs(answerer: Answerer, folder: Path, seed: int) -> list[Scored]:
    """Each variant of each known photograph, in every form and both styles."""
    rows = [
        (photograph, variant, exchange)
        for photograph in find_photographs(folder)
        for number, variant in enumerate(photograph.variants())
        for exchange in _every_kind(np.random.default_rng([seed, _STREAM, number]), variant.stain)
    ]
    asked = [Asked(picture=variant.picture, exchange=exchange) for _, variant, exchange in rows]
    return [
        _scored(variant.stain, each, answer, photograph, variant)
        for (photograph, variant, _), each, answer in zip(rows, asked, answerer.answers(asked), strict=True)
    ]


def _every_kind(rng: np.random.Generator, stain: Stain) -> Iterator[Exchange]:
    for form in Form:
        for style in Style:
            yield ask(rng, stain, form, style)


def _scored(
    stain: Stain,
    asked: Asked,
    answer: str,
    photograph: Photograph | None = None,
    variant: Variant | None = None,
) -> Scored:
    exchange = asked.exchange
    return Scored(
        stain=stain,
        form=exchange.form,
        style=exchange.style,
        named=next((each.value for each in Stain if answer.endswith(each.value)), UNREADABLE),
        right=answer == exchange.answer,
        picture=photograph.name if photograph else "",
        variant=variant.name if variant else "",
    )
