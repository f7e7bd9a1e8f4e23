from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from worker.errors import ImageTooLarge, RegionOutside
from worker.imaging.pyramid import TILES_FACTOR, check_tiles, fitted, piece_for
from worker.imaging.slide import Level
from worker.imaging.units import Box, Size

LEVELS = tuple(
    Level(size=Size(width=width, height=height), downsample=4001 / width)
    for width, height in ((4001, 3001), (2000, 1500), (500, 375))
)


@pytest.mark.parametrize(
    ("width", "output", "level"),
    [
        (1000, 1000, 0),  # as it is
        (1000, 2000, 0),  # finer than there is
        (1000, 510, 0),  # a little finer than the second level
        (1000, 500, 1),  # 2.0, and the second level is 2.0005 times smaller
        (1000, 128, 1),
        (1000, 125, 2),
        (1000, 10, 2),
    ],
)
def test_the_coarsest_level_that_is_fine_enough_answers(width: int, output: int, level: int) -> None:
    box, size = Box(x=0, y=0, width=width, height=width), Size(width=output, height=output)
    assert piece_for(LEVELS, box, size, max_pixels=10**7).level == level


def test_the_finer_of_two_directions_decides() -> None:
    box, size = Box(x=0, y=0, width=1000, height=1000), Size(width=100, height=1000)
    assert piece_for(LEVELS, box, size, max_pixels=10**7).level == 0


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_piece_lies_on_its_level_and_holds_what_was_asked(data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, 4000)), data.draw(st.integers(0, 3000))
    width, height = data.draw(st.integers(1, 4001 - x)), data.draw(st.integers(1, 3001 - y))
    size = Size(width=data.draw(st.integers(1, 300)), height=data.draw(st.integers(1, 300)))
    piece = piece_for(LEVELS, Box(x=x, y=y, width=width, height=height), size, max_pixels=10**8)
    on = LEVELS[piece.level].size
    assert piece.left >= 0
    assert piece.top >= 0
    assert piece.left + piece.width <= on.width
    assert piece.top + piece.height <= on.height
    left, top, right, bottom = piece.asked
    assert piece.left + left == pytest.approx(x * on.width / 4001, abs=1)
    assert piece.top + bottom == pytest.approx((y + height) * on.height / 3001, abs=1)
    assert -1e-5 <= left < right <= piece.width + 1e-5
    assert -1e-5 <= top < bottom <= piece.height + 1e-5
    shown = fitted(Image.new("RGB", (piece.width, piece.height), "white"), piece, size)
    assert shown.size == (size.width, size.height)
    assert shown.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("x", "y", "width", "height"),
    [(4001, 0, 1, 1), (0, 0, 4002, 1), (-1, 0, 10, 10), (0, 2990, 10, 12), (0, 0, 0, 10)],
)
def test_a_box_that_is_not_on_the_slide_is_outside(x: int, y: int, width: int, height: int) -> None:
    with pytest.raises(RegionOutside) as refusal:
        piece_for(
            LEVELS, Box(x=x, y=y, width=width, height=height), Size(width=10, height=10), max_pixels=10**7
        )
    assert "4001 x 3001" in refusal.value.public


def test_an_output_of_more_pixels_than_are_read_is_too_large() -> None:
    box = Box(x=0, y=0, width=1000, height=1000)
    with pytest.raises(ImageTooLarge):
        piece_for(LEVELS, box, Size(width=101, height=100), max_pixels=10_000)


def test_a_slide_without_a_small_level_is_not_read_whole_for_a_small_picture() -> None:
    box, size = Box(x=0, y=0, width=4001, height=3001), Size(width=40, height=30)
    with pytest.raises(ImageTooLarge) as refusal:
        piece_for(LEVELS[:1], box, size, max_pixels=1_000_000)
    assert "12007001 pixels" in refusal.value.public


def test_tiles_count_whole() -> None:
    piece = piece_for(LEVELS, Box(x=255, y=255, width=2, height=2), Size(width=2, height=2), max_pixels=10**6)
    touched = 4 * 256 * 256
    check_tiles(piece, Size(width=256, height=256), max_pixels=touched // TILES_FACTOR)
    with pytest.raises(ImageTooLarge):
        check_tiles(piece, Size(width=256, height=256), max_pixels=touched // TILES_FACTOR - 1)


def test_pixels_that_fit_are_left_as_they_are() -> None:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    piece = piece_for(LEVELS, Box(x=7, y=9, width=40, height=30), Size(width=40, height=30), max_pixels=10**6)
    assert fitted(pixels, piece, Size(width=40, height=30)) is pixels
