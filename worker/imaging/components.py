"""Components: the connected parts of a mask, in numpy alone.

In: a mask. Out: a number for each pixel, the same for those that touch. Rows become runs; runs that touch are
joined: the work goes with the number of runs, not of pixels. It does not know what the mask means.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]
_Numbers = npt.NDArray[np.int64]


def labelled(mask: Mask) -> Labels:
    """0 outside, 1 to n inside, in the order in which the parts begin; corners touch (8-connectivity)."""
    height, width = mask.shape
    framed = np.zeros((height, width + 2), dtype=np.int8)
    framed[:, 1:-1] = mask
    steps = np.diff(framed, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    numbers = _joined(len(rows), *_touching(rows, starts, ends, width + 2))
    labels = np.zeros(mask.shape, dtype=np.int32)
    labels[mask] = np.repeat(numbers, ends - starts)
    return labels


def _touching(rows: _Numbers, starts: _Numbers, ends: _Numbers, stride: int) -> tuple[_Numbers, _Numbers]:
    """Pairs of runs of neighbouring rows, as two lists of numbers. `ends` are one past the last pixel."""
    below = (rows + 1) * stride
    first = np.searchsorted(rows * stride + ends, below + starts, side="left")
    last = np.searchsorted(rows * stride + starts, below + ends, side="right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + within


def _joined(count: int, one: _Numbers, other: _Numbers) -> Labels:
    """Union-find over all pairs at once: every run takes the least number it can reach."""
    parents = np.arange(count)
    while True:
        least = np.minimum(parents[one], parents[other])
        if (parents[one] == least).all() and (parents[other] == least).all():
            break
        np.minimum.at(parents, parents[one], least)
        np.minimum.at(parents, parents[other], least)
        while (parents[parents] != parents).any():
            parents = parents[parents]
    return (np.unique(parents, return_inverse=True)[1] + 1).astype(np.int32)
