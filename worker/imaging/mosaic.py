"""Tiles of one level of a slide become one array.

In: a data set of the VL Whole Slide Microscopy kind, with TILED_FULL tiles (PS3.3 C.7.6.17.3), and a function
that makes 8 bits of a tile. Out: its total pixel matrix. It knows one level, not the pyramid, and no colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from worker.errors import UnsupportedImage
from worker.imaging.frames import Frame, Layout, decode_frames
from worker.imaging.picture import check_size

Pixels = NDArray[np.uint8]
Steps = tuple[str, ...]
#: a frame and its index become 8 bits of grey or RGB, and the steps that were taken
Shown = Callable[[Frame, int], tuple[Pixels, Steps]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The Total Pixel Matrix, in pixels and in tiles."""

    rows: int
    columns: int
    tiles_down: int
    tiles_across: int
    #: index of the first tile of the plane that is shown
    first: int
    #: which plane and path these tiles are, where there are several
    chosen: tuple[str, ...] = ()

    @property
    def tiles(self) -> int:
        return self.tiles_down * self.tiles_across

    @property
    def steps(self) -> tuple[str, ...]:
        return (f"assembled from {self.tiles} tiles", *self.chosen)


def matrix_of(dataset: Dataset, layout: Layout, *, max_pixels: int) -> Matrix | None:
    """None for what is not a tiled slide. Of several focal planes the middle one is taken, of several
    optical paths the first. Raises ImageTooLarge, or UnsupportedImage where tiles have free positions."""
    if "TotalPixelMatrixColumns" not in dataset or "TotalPixelMatrixRows" not in dataset:
        return None
    rows, columns = int(dataset.TotalPixelMatrixRows), int(dataset.TotalPixelMatrixColumns)
    check_size(columns, rows, max_pixels=max_pixels)
    down, across = -(-rows // layout.rows), -(-columns // layout.columns)
    planes = int(dataset.get("TotalPixelMatrixFocalPlanes") or 1)
    paths = int(dataset.get("NumberOfOpticalPaths") or 1)
    organisation = dataset.get("DimensionOrganizationType")
    positioned = organisation is None and "PerFrameFunctionalGroupsSequence" in dataset
    if (
        organisation not in ("TILED_FULL", None)
        or positioned
        or layout.frames != down * across * planes * paths
    ):
        raise UnsupportedImage("DICOM slide that is not TILED_FULL, without a frame number")
    plane = planes // 2
    return Matrix(
        rows=rows,
        columns=columns,
        tiles_down=down,
        tiles_across=across,
        first=plane * down * across,
        chosen=(
            *((f"focal plane {plane + 1} of {planes}",) if planes > 1 else ()),
            *((f"optical path 1 of {paths}",) if paths > 1 else ()),
        ),
    )


def assemble(dataset: Dataset, layout: Layout, matrix: Matrix, shown: Shown) -> tuple[Pixels, Steps]:
    """All tiles of the plane, row by row, each shown as its own attributes say; what a tile at the edge has
    too much is cut off."""
    canvas: Pixels | None = None
    steps: dict[Steps, None] = {}
    number = -1
    for number, tile in enumerate(decode_frames(dataset, layout, matrix.first, matrix.tiles)):
        pixels, taken = shown(tile, matrix.first + number)
        steps[taken] = None
        if canvas is None:
            canvas = np.zeros((matrix.rows, matrix.columns, *pixels.shape[2:]), np.uint8)
        top = number // matrix.tiles_across * layout.rows
        left = number % matrix.tiles_across * layout.columns
        place = canvas[top : top + layout.rows, left : left + layout.columns]
        place[:] = pixels[: place.shape[0], : place.shape[1]]
    if canvas is None or number + 1 != matrix.tiles:
        raise UnsupportedImage("DICOM slide with missing tiles")
    return canvas, _summary(list(steps))


def _summary(taken: list[Steps]) -> Steps:
    """The steps that all tiles share, and how many ways there are of the others: a slide may have thousands
    of tiles, each with a window of its own."""
    shared = tuple(step for step in taken[0] if all(step in steps for steps in taken))
    return shared if len(taken) == 1 else (f"{len(taken)} windows, tile by tile", *shared)
