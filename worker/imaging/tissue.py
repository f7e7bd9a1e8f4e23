"""Tissue: which part of a slide's overview is tissue, and whether there is any.

In: a small RGB picture of a whole slide. Out: a mask, its digest and its share of the picture. Glass, ink,
black borders and dirt are not tissue; a slide of glass has none. It measures light that is absorbed (optical
density, Beer-Lambert) against the glass of the same slide, and asks for colour: stains absorb some
colours more than others, while dust, scratches and the edges of cover slips are grey. It knows no scanner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from worker.imaging.components import Mask, labelled
from worker.imaging.digests import of_bytes

_Plane = npt.NDArray[np.uint8]

#: planes hold optical density in these steps, so that everything is done in bytes
_STEPS: Final = 200
#: between these Otsu may choose: glass with noise is below, any stained tissue above
_LEAST, _MOST = round(0.04 * _STEPS), round(0.12 * _STEPS)
#: how much more a stain absorbs of one colour than of another, at least; also a quarter of its density
_COLOUR: Final = round(0.02 * _STEPS)
_COLOUR_SHARE: Final = 4
#: glass is at least so bright, and its colours differ by no more
_GLASS_LEAST, _GLASS_TINT = 180, 24
#: HSV value of black: borders, holders, what was not scanned
_BLACK: Final = 45
#: hue from, hue to (of 360 degrees) and least saturation (of 255) of blue, green and red ink
_INKS: Final = ((190, 244, 140), (76, 195, 90), (345, 372, 180))
#: saturation where ink runs out, of 255, and how many times its reach away from full ink
_FRINGE, _FRINGE_REACH = 30, 6
#: grey levels by which pixels of a structure differ from their surroundings, on the mean; ink has none
_PLAIN: Final = 1.0
#: the longer side of the mask at most, and lengths on one of that size: smoothing, reach of ink, gaps closed
_SIDE: Final = 512
_SMOOTHING, _REACH, _GAP = 1.0, 5, 3
#: share of the picture below which a part is a speck: 7 x 7 cells of 512 x 512, 0.3 mm of a 20 mm slide
_SPECK: Final = 0.0002


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueMask:
    #: rows x columns of cells, each `cell` x `cell` pixels of the overview (less at its far edges)
    mask: Mask
    cell: int
    #: `sha256:...` of its size and its bits, row by row
    digest: str
    #: tissue's share of the overview, 0 to 1
    fraction: float
    #: share of what was taken for ink, 0 to 1
    ink: float


def tissue_mask(overview: Image.Image) -> TissueMask:
    """Of an 8-bit RGB picture of the whole slide; of glass alone it is empty."""
    cell = -(-max(overview.size) // _SIDE)
    small = overview.reduce(cell)
    scale = min(1.0, max(small.size) / _SIDE)
    reach, gap = max(1, round(_REACH * scale)), max(1, round(_GAP * scale))
    smooth = small.filter(ImageFilter.GaussianBlur(_SMOOTHING))
    density, colour = _absorbed(smooth, _glass(small))
    ink, black = _foreign(smooth, reach)
    coloured = (colour >= _COLOUR) & (colour >= density // _COLOUR_SHARE)
    found = _twice(density, coloured, ~(ink | black), reach)
    whole = _closed(found, gap) & ~(ink | black)
    mask = _real_parts(whole, ink, _structure(small, smooth))
    return TissueMask(
        mask=mask,
        cell=cell,
        digest=_digest(mask),
        fraction=float(mask.mean()),
        ink=float(ink.mean()),
    )


def _glass(small: Image.Image) -> tuple[int, ...]:
    """The colour of light through glass alone: the 95th percentile of each channel."""
    planes = [np.asarray(channel) for channel in small.split()]
    red, green, blue = planes
    # what was not scanned is filled with white or black
    is_white = (red == 255) & (green == 255) & (blue == 255)
    scanned = ~is_white & (np.maximum(np.maximum(red, green), blue) >= _BLACK)
    bright = [_bright(plane[scanned]) for plane in planes]
    if (
        max(bright) - min(bright) > _GLASS_TINT // 2
    ):  # a pale stain: glass is as white as what was not scanned
        bright = [_bright(plane) for plane in planes]
    least = max(max(bright) - _GLASS_TINT, _GLASS_LEAST)
    return tuple(max(level, least) for level in bright)


def _bright(levels: _Plane) -> int:
    """The 95th percentile; white where there is nothing."""
    counts = np.cumsum(np.bincount(levels.ravel(), minlength=256))
    return int(np.searchsorted(counts, 0.95 * counts[-1])) if counts[-1] else 255


def _absorbed(smooth: Image.Image, glass: tuple[int, ...]) -> tuple[_Plane, _Plane]:
    """Optical density in the channel that absorbs most, and how much less the others do. In `_STEPS`."""
    light = np.maximum(np.arange(256), 1)
    planes = []
    for channel, white in zip(smooth.split(), glass, strict=True):
        steps = np.clip(np.rint(np.log10(white / light) * _STEPS), 0, 255).astype(np.uint8)
        planes.append(steps[np.asarray(channel)])
    red, green, blue = planes
    density = np.maximum(np.maximum(red, green), blue)
    return density, density - np.minimum(np.minimum(red, green), blue)


def _foreign(smooth: Image.Image, reach: int) -> tuple[Mask, Mask]:
    """Ink and black, each with its surroundings."""
    hue, saturation, value = (np.asarray(plane) for plane in smooth.convert("HSV").split())
    ink = np.zeros(hue.shape, dtype=np.bool_)
    for first, last, least in _INKS:
        turned = hue - np.uint8(round(first / 360 * 255))  # modulo 256, as hues go round
        of_hue = turned <= round((last - first) / 360 * 255)
        full = of_hue & (saturation > least)
        if full.any():
            fringe = of_hue & (saturation > _FRINGE) & _grown(full, _FRINGE_REACH * reach)
            ink |= _grown(full | fringe, reach)
    return ink, _grown(value < _BLACK, reach)


def _twice(density: _Plane, coloured: Mask, allowed: Mask, reach: int) -> Mask:
    """What is denser than Otsu's threshold; then once more among the rest, for what is fainter than that.

    One threshold for all loses a faint fragment beside a strong one.
    """
    first = _otsu(density[allowed], _MOST)
    strong = allowed & coloured & (density > first)
    rest = allowed & ~_grown(strong, reach)
    return strong | (rest & coloured & (density > _otsu(density[rest], first)))


def _otsu(densities: _Plane, most: int) -> int:
    """Otsu 1979: the threshold that parts two classes best; between `_LEAST` and `most`."""
    counts = np.bincount(densities, minlength=256).astype(np.float64)
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    parted = (below > 0) & (above > 0)
    between = np.zeros(256)
    means = sums[parted] / below[parted] - (sums[-1] - sums[parted]) / above[parted]
    between[parted] = below[parted] * above[parted] * means**2
    return int(np.clip(np.argmax(between), _LEAST, most))


def _structure(small: Image.Image, smooth: Image.Image) -> _Plane:
    """How far each pixel is from its surroundings, in grey levels."""
    return np.asarray(ImageChops.difference(small, smooth).convert("L"))


def _real_parts(mask: Mask, ink: Mask, structure: _Plane) -> Mask:
    """Leaves out specks, and what touches ink and has no structure: the fringe of a stroke."""
    labels = labelled(mask)
    areas = np.bincount(labels.ravel())
    kept = areas >= max(1, _SPECK * mask.size)
    if ink.any():
        touching = np.unique(labels[_grown(ink, 1)])
        means = np.bincount(labels.ravel(), weights=structure.ravel()) / np.maximum(areas, 1)
        kept[touching] &= means[touching] >= _PLAIN
    kept[0] = False
    return kept[labels]


def _closed(mask: Mask, radius: int) -> Mask:
    return ~_grown(~_grown(mask, radius), radius)


def _grown(mask: Mask, radius: int) -> Mask:
    """By a square of 2 `radius` + 1 pixels; nothing comes in from outside the picture."""
    return _along(_along(mask, radius).T, radius).T


def _along(mask: Mask, radius: int) -> Mask:
    grown = np.zeros((mask.shape[0] + 2 * radius, mask.shape[1]), dtype=np.bool_)
    grown[radius : radius + mask.shape[0]] = mask
    reached = 0
    while reached < 2 * radius:  # each turn doubles the reach
        step = min(reached + 1, 2 * radius - reached)
        grown[:-step] = grown[:-step] | grown[step:]
        reached += step
    return np.ascontiguousarray(grown[: mask.shape[0]])


def _digest(mask: Mask) -> str:
    height, width = mask.shape
    return of_bytes(b"%d %d\n" % (height, width) + np.packbits(mask).tobytes())
