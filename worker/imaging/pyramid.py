"""Which pixels of a pyramid answer a request, and how they become the size that was asked for.

In: the levels of a slide, a box on the largest one, and the size wanted. Out: the piece of the level that
fits, in whole pixels, before anything is decoded; then the picture in exactly that size. It knows no format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.errors import ImageTooLarge, RegionOutside
from worker.imaging.slide import Level
from worker.imaging.units import Box, Size

#: of Limits.max_pixels, what the tiles of one read may hold: as large an output as is allowed, and the rest
#: of the tiles at its edges
TILES_FACTOR = 2
#: a level is at least as fine as asked although its size was rounded to whole pixels
_ROUNDED = 1.01
_NEARLY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Whole pixels of one level."""

    level: int
    left: int
    top: int
    width: int
    height: int
    #: what was asked for, within the piece: left, top, right, bottom, in its pixels
    asked: tuple[float, float, float, float]


def piece_for(levels: Sequence[Level], box: Box, size: Size, *, max_pixels: int) -> Piece:
    """From the coarsest level that is at least as fine as asked, else from the largest.

    Raises RegionOutside, or ImageTooLarge for a size or a piece of more pixels than are decoded.
    """
    largest = levels[0].size
    if not box.is_inside(largest) or min(box.width, box.height, size.width, size.height) < 1:
        raise RegionOutside(f"The slide has {largest.width} x {largest.height} pixels.")
    if size.pixels > max_pixels:
        raise ImageTooLarge(f"{size.width} x {size.height} pixels; at most {max_pixels} are read.")
    wanted = min(box.width / size.width, box.height / size.height) * _ROUNDED
    fine = [number for number, level in enumerate(levels) if level.downsample <= wanted]
    number = max(fine, key=lambda n: levels[n].downsample, default=0)
    level = levels[number].size
    left, right = _covered(box.x, box.width, level.width / largest.width, level.width)
    top, bottom = _covered(box.y, box.height, level.height / largest.height, level.height)
    first_x, first_y = _first(left, level.width), _first(top, level.height)
    piece = Piece(
        level=number,
        left=first_x,
        top=first_y,
        width=max(1, math.ceil(right - _NEARLY) - first_x),
        height=max(1, math.ceil(bottom - _NEARLY) - first_y),
        asked=(left - first_x, top - first_y, right - first_x, bottom - first_y),
    )
    check_tiles(piece, Size(width=1, height=1), max_pixels=max_pixels)
    return piece


def check_tiles(piece: Piece, tile: Size, *, max_pixels: int) -> None:
    """Raises ImageTooLarge where the tiles that a piece touches hold too many pixels."""
    across = (piece.left + piece.width - 1) // tile.width - piece.left // tile.width + 1
    down = (piece.top + piece.height - 1) // tile.height - piece.top // tile.height + 1
    pixels = across * down * tile.pixels
    if pixels > max_pixels * TILES_FACTOR:
        raise ImageTooLarge(
            f"{pixels} pixels of tiles would be decoded; at most {max_pixels * TILES_FACTOR} are."
            " The slide has no smaller level for this size."
        )


def touched(piece: Piece, tile: Size) -> Iterator[tuple[int, int]]:
    """Row and column of each tile that the piece touches."""
    right, bottom = piece.left + piece.width - 1, piece.top + piece.height - 1
    for row in range(piece.top // tile.height, bottom // tile.height + 1):
        for column in range(piece.left // tile.width, right // tile.width + 1):
            yield row, column


def paste(
    canvas: NDArray[np.uint8], pixels: NDArray[np.uint8], at: tuple[int, int], tile: Size, piece: Piece
) -> None:
    """What the piece shows of the tile `at` row and column, which may have more than belongs to the level."""
    top, left = at[0] * tile.height - piece.top, at[1] * tile.width - piece.left
    down, across = max(0, -top), max(0, -left)
    place = canvas[max(0, top) : max(0, top + tile.height), max(0, left) : max(0, left + tile.width)]
    place[:] = pixels[down : down + place.shape[0], across : across + place.shape[1]]


def fitted(image: Image.Image, piece: Piece, size: Size) -> Image.Image:
    """The pixels as they are where nothing is to be scaled, else resampled (bicubic, each source pixel
    counted)."""
    whole = (0.0, 0.0, float(image.width), float(image.height))
    same = all(abs(a - b) < _NEARLY for a, b in zip(piece.asked, whole, strict=True))
    if same and image.size == (size.width, size.height):
        return image
    right, bottom = min(piece.asked[2], whole[2]), min(piece.asked[3], whole[3])
    return image.resize(
        (size.width, size.height),
        Image.Resampling.BICUBIC,
        box=(max(0.0, piece.asked[0]), max(0.0, piece.asked[1]), right, bottom),
    )


def _covered(start: int, length: int, scale: float, most: int) -> tuple[float, float]:
    return start * scale, min((start + length) * scale, float(most))


def _first(place: float, most: int) -> int:
    return min(math.floor(place + _NEARLY), most - 1)
