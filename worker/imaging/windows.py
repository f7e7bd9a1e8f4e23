"""Windows: what to look at on a slide of which no region was asked for.

In: a slide, and how many windows of which size and magnification are wanted. Out: the overview, and the
windows that show most tissue with most structure, none over another; none where there is no tissue. The same
slide gives the same windows. This is sampling: what lies outside the windows was seen in the overview only,
and the share of the tissue that lies inside is told. It does not know how a slide is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from worker.imaging.slide import Slide
from worker.imaging.tissue import TissueMask, tissue_mask
from worker.imaging.units import Box, Magnification, MicronsPerPixel, Size, microns_per_pixel
from worker.imaging.wanted import Wanted

#: of the windows, where neither the request nor the operator says another
MAGNIFICATION: Final = Magnification(10.0)
#: longer side of the overview that the mask is made of, where none is shown
_OVERVIEW: Final = 1024
#: share of a window that is tissue at least; the first one is taken with less
_LEAST_TISSUE: Final = 0.05
#: scores that differ by less are the same, and the upper left one wins
_DECIMALS: Final = 6

_Plane = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Without windows there is no tissue."""

    #: the whole slide, 8-bit RGB
    overview: Image.Image
    mask: TissueMask
    windows: tuple[Box, ...]
    #: of each window's picture, in pixels
    shown: Size
    #: of each window's picture; None where the slide does not say
    spacing: MicronsPerPixel | None
    #: how much of the tissue lies in the windows, 0 to 1
    tissue_covered: float
    #: what could not be done as wanted
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """What a window is on the largest level, and what is shown of it."""

    box: Size
    shown: Size
    spacing: MicronsPerPixel | None
    steps: tuple[str, ...]


def choose(slide: Slide, wanted: Wanted) -> Choice:
    """Raises what `Slide.read` raises."""
    whole = slide.levels[0].size
    scale = _scale(slide, wanted)
    overview = slide.read(
        Box(x=0, y=0, width=whole.width, height=whole.height), _within(whole, wanted.overview or _OVERVIEW)
    )
    mask = tissue_mask(overview)
    windows, covered = _best(overview, mask, scale.box, whole, wanted.windows)
    return Choice(
        overview=overview,
        mask=mask,
        windows=windows,
        shown=scale.shown,
        spacing=scale.spacing,
        tissue_covered=covered,
        steps=scale.steps,
    )


def _scale(slide: Slide, wanted: Wanted) -> _Scale:
    """At the wanted magnification, or the finest there is."""
    whole, finest = slide.levels[0].size, slide.spacing
    asked = wanted.magnification or MAGNIFICATION
    factor, steps = 1.0, tuple[str, ...]()
    if finest is None:
        steps = ("no spacing: windows at the finest level",)
    elif microns_per_pixel(asked) < finest:
        steps = (f"no {asked:g} x: windows at the finest level",)
    else:
        factor = microns_per_pixel(asked) / finest
    box = Size(
        width=min(whole.width, round(wanted.window * factor)),
        height=min(whole.height, round(wanted.window * factor)),
    )
    return _Scale(
        box=box,
        shown=Size(width=max(1, round(box.width / factor)), height=max(1, round(box.height / factor))),
        spacing=None if finest is None else MicronsPerPixel(finest * factor),
        steps=steps,
    )


def _within(size: Size, longest: int) -> Size:
    """The same shape, no side longer, never larger than it is."""
    shrink = max(1.0, max(size.width, size.height) / longest)
    return Size(width=max(1, round(size.width / shrink)), height=max(1, round(size.height / shrink)))


def _best(
    overview: Image.Image, mask: TissueMask, window: Size, whole: Size, count: int
) -> tuple[tuple[Box, ...], float]:
    """At most `count` windows, the best first; and the share of the tissue that they cover."""
    tissue = mask.mask
    rows, columns = tissue.shape
    # one cell in pixels of the largest level
    across, down = whole.width * mask.cell / overview.width, whole.height * mask.cell / overview.height
    width = min(columns, max(1, round(window.width / across)))
    height = min(rows, max(1, round(window.height / down)))
    filled = _box_means(tissue.astype(np.int64), width, height)
    structure = _box_means(_structure(overview, mask), width, height)
    covered = np.zeros_like(tissue)
    boxes = []
    for y, x in _picked(filled, structure, width, height, count):
        covered[y : y + height, x : x + width] = True
        left = min(round(x * across), whole.width - window.width)
        top = min(round(y * down), whole.height - window.height)
        boxes.append(Box(x=left, y=top, width=window.width, height=window.height))
    return tuple(boxes), float((tissue & covered).sum() / max(1, tissue.sum()))


def _picked(filled: _Plane, structure: _Plane, width: int, height: int, count: int) -> list[tuple[int, int]]:
    """Rows and columns of the best boxes, none over another (non-maximum suppression)."""
    # a share of tissue is never worth nothing, however smooth it is
    scores = np.round(filled * np.log(2.0 + structure), _DECIMALS)
    picked = list[tuple[int, int]]()
    while len(picked) < count:
        y, x = divmod(int(np.argmax(scores)), scores.shape[1])  # the first of equals
        if scores[y, x] <= 0:
            break
        picked.append((y, x))
        scores[max(0, y - height + 1) : y + height, max(0, x - width + 1) : x + width] = 0
        scores[filled < _LEAST_TISSUE] = 0
    return picked


def _structure(overview: Image.Image, mask: TissueMask) -> npt.NDArray[np.int64]:
    """Squared Laplacian of the grey overview, summed over each cell of the mask."""
    grey = np.pad(np.asarray(overview.convert("L"), dtype=np.int64), 1, mode="edge")
    middle = grey[1:-1, 1:-1]
    squares = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle) ** 2
    rows, columns = mask.mask.shape
    room = ((0, rows * mask.cell - squares.shape[0]), (0, columns * mask.cell - squares.shape[1]))
    cells = np.pad(squares, room).reshape(rows, mask.cell, columns, mask.cell)
    return np.asarray(cells.sum(axis=(1, 3)))


def _box_means(values: npt.NDArray[np.int64], width: int, height: int) -> _Plane:
    """Of every box that lies inside, by its upper left cell. Whole numbers: the same on every machine."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    return np.asarray(boxes / (width * height))
