"""Tiles of one level become pixels.

In: the instance of one level of a DICOM whole slide, or the parts that it was sent in (a concatenation, PS3.3
C.7.6.16.2.2.4). Out: 8-bit RGB of any piece of its Total Pixel Matrix, in one of its planes. Only the tiles
that the piece touches are fetched and decoded, and each only after its own header agrees with the data set.
It knows one level, not the pyramid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from wsidicom.errors import WsiDicomError
from wsidicom.geometry import Point
from wsidicom.instance import TileType
from wsidicom.instance.tile_index import SparseTileIndex

from worker.errors import ImageTooLarge, ImageUnreadable, SlideIncomplete, UnsupportedImage
from worker.imaging.dicom import eight_bits_of
from worker.imaging.dicom_parts import Part
from worker.imaging.frames import GREY, MAX_FRAMES, Frame, declared, decode_stream
from worker.imaging.picture import check_size
from worker.imaging.pyramid import Piece, paste, touched
from worker.imaging.units import Size

#: frames that are asked for at once, and held as they are stored
_BATCH = 64
_WHITE = 255
_SAME = ("Rows", "Columns", "TotalPixelMatrixRows", "TotalPixelMatrixColumns", "PhotometricInterpretation")


class Plane(NamedTuple):
    """One focal plane seen through one optical path."""

    path: str
    #: in microns from the slide's surface, or counted where their distance is not given
    focus: float


class _Tile(NamedTuple):
    row: int
    column: int
    frame: int


#: row and column of a tile become the index of its frame; None where there is no such tile
_Find = Callable[[int, int], int | None]


class Mosaic:
    """One Total Pixel Matrix (PS3.3 C.8.12.4.1.3)."""

    def __init__(self, parts: Sequence[Part], *, max_pixels: int) -> None:
        """Raises SlideIncomplete, or another refusal before anything is decoded."""
        self.parts = sorted(parts, key=_offset)
        self.dataset = self.parts[0].dataset
        self._layout = declared(self.dataset, self.parts[0].syntax, max_pixels=max_pixels)
        rows, columns = int(self.dataset.TotalPixelMatrixRows), int(self.dataset.TotalPixelMatrixColumns)
        check_size(columns, rows, max_pixels=columns * rows)
        self.size = Size(width=columns, height=rows)
        self.tile = Size(width=self._layout.columns, height=self._layout.rows)
        self._down, self._across = -(-rows // self.tile.height), -(-columns // self.tile.width)
        if self._down * self._across > MAX_FRAMES:
            raise ImageTooLarge(f"{self._down * self._across} tiles")
        self._frames = self._check_parts()
        self.planes: dict[Plane, _Find] = self._full() if self._is_full() else self._sparse()

    @property
    def is_grey(self) -> bool:
        return self._layout.photometric in GREY

    @property
    def steps(self) -> tuple[str, ...]:
        """What becomes of the samples of every tile."""
        one = np.zeros((1, 1, 3)[: 2 + (self._layout.samples > 1)], np.uint16)
        return eight_bits_of(
            self.dataset, self._layout, Frame(samples=one, bits=self._layout.bits_stored), 0
        )[1]

    def read(self, plane: Plane, piece: Piece) -> NDArray[np.uint8]:
        """Rows x columns x 3. What has no tile is white."""
        canvas = np.full((piece.height, piece.width, 3), _WHITE, np.uint8)
        for tile, stream in self._stored(self._touched(self.planes[plane], piece)):
            frame = decode_stream(self.dataset, self._layout, stream)
            pixels, _ = eight_bits_of(self.dataset, self._layout, frame, 0)
            if pixels.shape[:2] != (self.tile.height, self.tile.width):
                raise ImageUnreadable("A tile was decoded to another size.")
            rgb = pixels if pixels.ndim == 3 else pixels[..., None]
            paste(canvas, rgb, (tile.row, tile.column), self.tile, piece)
        return canvas

    def _touched(self, find: _Find, piece: Piece) -> Iterator[_Tile]:
        for row, column in touched(piece, self.tile):
            frame = find(row, column)
            if frame is not None:
                yield _Tile(row, column, frame)

    def _stored(self, tiles: Iterator[_Tile]) -> Iterator[tuple[_Tile, bytes]]:
        """In batches, so that an archive is asked once for many."""
        while batch := list(islice(tiles, _BATCH)):
            for part in self.parts:
                first = _offset(part)
                here = [tile for tile in batch if 0 <= tile.frame - first < _count(part)]
                if here:
                    yield from zip(here, part.stored([tile.frame - first for tile in here]), strict=True)

    def _check_parts(self) -> int:
        """How many frames there are together. A part that is not there yet leaves a gap, or the end open."""
        for part in self.parts[1:]:
            same = part.syntax == self.parts[0].syntax and all(
                part.dataset.get(keyword) == self.dataset.get(keyword) for keyword in _SAME
            )
            if not same:
                raise ImageUnreadable("The parts of a concatenation differ.")
        there, total = len(self.parts), int(self.dataset.get("InConcatenationTotalNumber") or 0)
        if there < total:
            raise SlideIncomplete(f"{there} of {total} parts of a level are there.")
        frames = 0
        for part in self.parts:
            if _offset(part) > frames:
                raise SlideIncomplete("A part of a level is missing.")
            if _offset(part) < frames:
                raise ImageUnreadable("The parts of a concatenation overlap.")
            frames += _count(part)
        return frames

    def _is_full(self) -> bool:
        try:
            return self.parts[0].described.tile_type is TileType.FULL
        except WsiDicomError:  # neither organised nor positioned: the number of frames decides
            return True

    def _full(self) -> dict[Plane, _Find]:
        """PS3.3 C.7.6.17.3: row by row, then the focal planes, then the optical paths."""
        tiles = self._down * self._across
        planes, paths = self._focal_planes(), self._paths()
        expected = tiles * planes * len(paths)
        if self._frames < expected and "SOPInstanceUIDOfConcatenationSource" in self.dataset:
            raise SlideIncomplete(f"{self._frames} of {expected} frames of a level are there.")
        if self._frames != expected:
            raise ImageUnreadable(f"{self._frames} frames are declared for {expected} tiles.")
        described = self.parts[0].described
        apart = (described.spacing_between_slices or 0.001) * 1000
        places = [(path, number) for path in paths for number in range(planes)]
        return {
            Plane(path, described.z_offset + number * apart): _row_by_row(self._across, tiles * place)
            for place, (path, number) in enumerate(places)
        }

    def _sparse(self) -> dict[Plane, _Find]:
        """PS3.3 C.8.12.4.1.2: each frame says where it is."""
        described = [part.described for part in self.parts]
        for one in described:
            positions = one.frame_positions
            if ((positions.columns - 1) % self.tile.width).any() or (
                (positions.rows - 1) % self.tile.height
            ).any():
                raise UnsupportedImage("DICOM slide whose tiles do not lie on a grid")
        index = SparseTileIndex(described)
        return {Plane(path, focus): _looked_up(index, path, focus) for focus, path in index.planes}

    def _focal_planes(self) -> int:
        return int(self.dataset.get("TotalPixelMatrixFocalPlanes") or 1)

    def _paths(self) -> list[str]:
        """Identifiers in the order of the frames; numbers where the sequence is missing."""
        count = int(self.dataset.get("NumberOfOpticalPaths") or 0)
        named = [
            str(item.get("OpticalPathIdentifier", ""))
            for item in self.dataset.get("OpticalPathSequence") or []
        ]
        return named if len(named) >= max(1, count) else [str(number + 1) for number in range(max(1, count))]


def _offset(part: Part) -> int:
    return int(part.dataset.get("ConcatenationFrameOffsetNumber") or 0)


def _count(part: Part) -> int:
    return int(part.dataset.get("NumberOfFrames") or 1)


def _row_by_row(across: int, first: int) -> _Find:
    return lambda row, column: first + row * across + column


def _looked_up(index: SparseTileIndex, path: str, focus: float) -> _Find:
    def find(row: int, column: int) -> int | None:
        frame = index.get_frame_index(Point(column, row), focus, path)
        return None if frame < 0 else int(frame)

    return find
