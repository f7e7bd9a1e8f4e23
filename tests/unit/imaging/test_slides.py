from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from worker.errors import ImageRefused, RegionOutside
from worker.imaging.slide import Level
from worker.imaging.slides import magnified, region_of
from worker.imaging.units import Box, Magnification, MicronsPerPixel, Size
from worker.jobs.request import Region

QUARTER = MicronsPerPixel(0.25)


@dataclass
class Glass:
    """A slide without pixels."""

    spacing: MicronsPerPixel | None = QUARTER
    format: str = "glass"
    digest: str = ""
    steps: tuple[str, ...] = ()
    levels: tuple[Level, ...] = (
        Level(size=Size(width=4001, height=3000), downsample=1),
        Level(size=Size(width=2000, height=1500), downsample=2.0005),
    )

    def read(self, box: Box, size: Size) -> Image.Image:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def found(slide: Glass | None = None, magnification: float | None = None, **region: Any) -> tuple[Box, Size]:
    wanted = None if magnification is None else Magnification(magnification)
    return region_of(Region(**region), slide or Glass(), wanted)


def test_pixels_of_the_largest_level_are_shown_as_they_are() -> None:
    box = Box(x=10, y=20, width=300, height=200)
    assert found(x=10, y=20, width=300, height=200) == (box, Size(width=300, height=200))


def test_pixels_of_a_smaller_level_are_shown_as_many() -> None:
    box, size = found(x=500, y=0, width=1500, height=1500, level=1)
    assert (box.x, box.y, box.x + box.width, box.height) == (1000, 0, 4001, 3000)
    assert size == Size(width=1500, height=1500)


def test_millimetres_are_pixels_of_the_largest_level() -> None:
    box, size = found(x=0.1, y=0.05, width=0.25, height=0.5, unit="mm")
    assert box == Box(x=400, y=200, width=1000, height=2000)
    assert size == box.size


def test_a_region_in_millimetres_is_the_same_region_in_pixels() -> None:
    assert found(x=0.1, y=0.05, width=0.25, height=0.5, unit="mm") == found(
        x=400, y=200, width=1000, height=2000
    )


@pytest.mark.parametrize(("magnification", "side"), [(40, 1000), (20, 500), (10, 250), (2.5, 62), (80, 1000)])
def test_a_magnification_gives_the_size_and_never_more_pixels_than_there_are(
    magnification: float, side: int
) -> None:
    _, size = found(x=0, y=0, width=1000, height=1000, magnification=magnification)
    assert size == Size(width=side, height=side)
    assert magnified(Box(x=0, y=0, width=1000, height=1000), Glass(), Magnification(magnification)) == size


def test_a_sliver_is_one_pixel_wide() -> None:
    box, size = found(x=0, y=0, width=0.00001, height=0.25, unit="mm", magnification=1)
    assert (box.width, size.width) == (1, 1)


@pytest.mark.parametrize(
    ("region", "numbers"),
    [
        ({"x": 4000, "y": 0, "width": 2, "height": 1}, "4001 x 3000"),
        ({"x": 0, "y": 1499, "width": 1, "height": 2, "level": 1}, "2000 x 1500"),
        ({"x": 0, "y": 0, "width": 1, "height": 1, "level": 2}, "2 levels"),
        ({"x": 1, "y": 0, "width": 0.01, "height": 0.01, "unit": "mm"}, "4001 x 3000"),
        ({"x": 1e7, "y": 0, "width": 1, "height": 1, "unit": "mm"}, "4001 x 3000"),
        ({"x": 0, "y": 0, "width": 1, "height": 1e7, "unit": "mm"}, "4001 x 3000"),
    ],
)
def test_a_region_outside_is_refused_with_the_size_of_the_slide(region: dict[str, Any], numbers: str) -> None:
    with pytest.raises(RegionOutside) as refusal:
        found(**region)
    assert numbers in refusal.value.public


@pytest.mark.parametrize(
    "region",
    [{"unit": "mm"}, {"magnification": 20}],
)
def test_a_slide_that_does_not_say_how_large_its_pixels_are_has_no_millimetres(
    region: dict[str, Any],
) -> None:
    without = Glass(spacing=None)
    assert found(without, x=0, y=0, width=10, height=10)[0] == Box(x=0, y=0, width=10, height=10)
    with pytest.raises(ImageRefused, match="how large its pixels are"):
        found(without, x=0, y=0, width=1, height=1, **region)
