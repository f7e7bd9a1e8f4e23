"""Tiles of one level of a slide become one array.

In: a data set of the VL Whole Slide Microscopy kind, with TILED_FULL tiles (PS3.3 C.7.6.17.3). Out: its total
pixel matrix, decoded tile by tile. It knows one level, not the pyramid, and no colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from worker.errors import UnsupportedImage
from worker.imaging.frames import Frame, Layout, decode_frames
from worker.imaging.picture import check_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The Total Pixel Matrix, in pixels and in tiles."""

    rows: int
    columns: int
    tiles_down: int
    tiles_across: int
    #: index of the first tile of the plane that is shown
    first: int

    @property
    def tiles(self) -> int:
        return self.tiles_down * self.tiles_across


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
    return Matrix(
        rows=rows, columns=columns, tiles_down=down, tiles_across=across, first=(planes // 2) * down * across
    )


def assemble(dataset: Dataset, layout: Layout, matrix: Matrix) -> Frame:
    """All tiles of the plane, row by row; what a tile at the edge has too much is cut off."""
    canvas: Frame | None = None
    for number, tile in enumerate(decode_frames(dataset, layout, matrix.first, matrix.tiles)):
        if canvas is None:
            shape = (matrix.rows, matrix.columns, *tile.samples.shape[2:])
            canvas = Frame(samples=np.zeros(shape, tile.samples.dtype), bits=tile.bits)
        top = number // matrix.tiles_across * layout.rows
        left = number % matrix.tiles_across * layout.columns
        place = canvas.samples[top : top + layout.rows, left : left + layout.columns]
        place[:] = tile.samples[: place.shape[0], : place.shape[1]]
    if canvas is None or number + 1 != matrix.tiles:
        raise UnsupportedImage("DICOM slide with missing tiles")
    return canvas
