"""Workload: the same cases for every engine, and how long each answer is forced to be. Pure.

In: how many, the shape of the lengths, a seed. Out: cases, the same for the same three. Every picture's sides are
multiples of 28 pixels, so that no engine scales one that another does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from worker.engine.models.demo.tiles import Stain, draw_tile
from worker.engine.reasoner import Prompt
from worker.jobs.request import Style

SHORTEST, LONGEST = 16, 256
#: of the long answers, as reasoning at length is
LONG = (512, 1536)
SIZES = ((224, 224), (168, 252), (112, 112), (336, 140))
#: of Patho-R1's answers, and of a picture that gives it 1,296 tokens
REPORT, LARGE = (200, 400), ((1008, 1008),)
STAINS = tuple(stain.value for stain in Stain)


def uniform(chance: random.Random) -> int:
    return chance.randint(SHORTEST, LONGEST)


def skewed(chance: random.Random) -> int:
    """As real answers are: most are short, a few are long."""
    return min(LONGEST, max(SHORTEST, int(chance.lognormvariate(0, 0.8) * (SHORTEST + LONGEST) / 4)))


def long(chance: random.Random) -> int:
    """A case that costs the model some eight times as much; what is around it stays the same."""
    return chance.randint(*LONG)


def report(chance: random.Random) -> int:
    """About a large picture, at the size in which the real model would be shown it."""
    return chance.randint(*REPORT)


LENGTHS: dict[str, Callable[[random.Random], int]] = {
    "uniform": uniform, "skewed": skewed, "long": long, "report": report,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question about one picture."""

    #: names it in whatever program reads it, and is part of its question
    name: str
    number: int
    tokens: int
    sizes: Sequence[tuple[int, int]] = SIZES

    @property
    def question(self) -> str:
        return f"{self.name}: which stain is shown?"

    @property
    def options(self) -> tuple[str, ...]:
        return STAINS if self.number % 2 else ()

    @cached_property
    def picture(self) -> Image.Image:
        width, height = self.sizes[self.number % len(self.sizes)]
        return Image.fromarray(draw_tile(np.random.default_rng(self.number), width, height).pixels)

    def prompt(self) -> Prompt:
        return Prompt(
            images=(self.picture,),
            question=self.question,
            options=self.options,
            style=Style.COT,
            max_new_tokens=self.tokens,
            min_new_tokens=self.tokens,
        )


def cases(shape: str, count: int, *, seed: int = 1) -> list[Case]:
    """Raises KeyError for a shape that is not in `LENGTHS`."""
    chance, length = random.Random(seed), LENGTHS[shape]
    sizes = LARGE if shape == "report" else SIZES
    return [
        Case(name=f"{shape} {number}", number=number, tokens=length(chance), sizes=sizes)
        for number in range(count)
    ]


def tokens_of(asked: Sequence[Case]) -> int:
    return sum(case.tokens for case in asked)
