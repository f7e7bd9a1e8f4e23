"""Pixels: how large the model sees the pictures of one question. Pure.

In: sizes of pictures, and how many tokens they may take together. Out: the most pixels of each, and the size
that a picture has within them. All engines ask here, so they show the model the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from worker.errors import PromptUnreadable

#: side of what is one token to Qwen2.5-VL, in pixels
FACTOR: Final = 28
TOKEN_PIXELS: Final = FACTOR * FACTOR
#: as in qwen_vl_utils: the fewest pixels, and how many times longer than wide a picture may be
LEAST_PIXELS: Final = 4 * TOKEN_PIXELS
LONGEST: Final = 200
#: tokens of all pictures of one question, where the operator says nothing else: eight of a megapixel
MAX_IMAGE_TOKENS: Final = 10_240
#: what one of several pictures has at least, unless it is smaller or they are too many
FLOOR_TOKENS: Final = 64

Size = tuple[int, int]


def share(sizes: Sequence[Size], *, tokens: int, max_pixels: int) -> tuple[int, ...]:
    """The most pixels of each picture, never above `max_pixels`.

    Pictures that take no more than `tokens` together are not touched, and one alone never is: the budget is
    at least one picture of `max_pixels`. Otherwise each has a share in proportion to what it would take, but
    not less than FLOOR_TOKENS. A picture that is one token wide may still take more than its share.
    """
    budget = max(tokens, max_pixels // TOKEN_PIXELS) * TOKEN_PIXELS
    wanted = [math.prod(model_size(*size, max_pixels)) for size in sizes]
    if sum(wanted) <= budget:
        return (max_pixels,) * len(sizes)
    floor = min(FLOOR_TOKENS * TOKEN_PIXELS, budget // len(sizes))
    return tuple(min(max_pixels, pixels) for pixels in _in_proportion(wanted, budget, floor))


def _in_proportion(wanted: Sequence[int], budget: int, floor: int) -> list[int]:
    """Those whose share is below the floor have the floor, or all they want; the others share the rest."""
    low = set[int]()
    while True:
        rest = budget - sum(min(wanted[number], floor) for number in low)
        total = sum(each for number, each in enumerate(wanted) if number not in low)
        shares = [
            min(each, floor) if number in low else each * rest // total for number, each in enumerate(wanted)
        ]
        more = {number for number, each in enumerate(shares) if each < min(wanted[number], floor)}
        if not more:
            return shares
        low |= more


def model_size(width: int, height: int, max_pixels: int) -> Size:
    """Width and height as qwen_vl_utils' `smart_resize` has them: multiples of 28, within the limits.

    Raises PromptUnreadable for a picture that is too long for its width.
    """
    if max(width, height) > LONGEST * min(width, height):
        raise PromptUnreadable(f"An image is more than {LONGEST} times as long as it is wide.")
    sides = [max(FACTOR, round(side / FACTOR) * FACTOR) for side in (width, height)]
    least = min(LEAST_PIXELS, max_pixels)
    if math.prod(sides) > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        sides = [max(FACTOR, math.floor(side / shrink / FACTOR) * FACTOR) for side in (width, height)]
    elif math.prod(sides) < least:
        grow = math.sqrt(least / (width * height))
        sides = [math.ceil(side * grow / FACTOR) * FACTOR for side in (width, height)]
    return sides[0], sides[1]
