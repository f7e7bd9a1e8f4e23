"""A tiled TIFF whose smaller levels lie below its first directory (SubIFDs), as OME-TIFF keeps a pyramid.

In: a supply that gives a stream, and the operator's limits. Out: a Slide, or a refusal. OpenSlide sees only
the largest level of such a file. tifffile finds the tiles (OME-TIFF specification, "sub-resolutions"); each
is decoded here, by libtiff or OpenJPEG, as one strip of a TIFF of its own. What else the file holds, a label
or a macro image, stands in other directories, of which none is opened.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from math import isfinite
from typing import Any, BinaryIO, Final

import numpy as np
import tifffile
from numpy.typing import NDArray
from openjpeg.utils import decode
from PIL import Image, TiffImagePlugin

from worker.errors import ImageTooLarge, ImageUnreadable, UnsupportedImage
from worker.imaging import digests
from worker.imaging.boundary import decoding, limit_pixels
from worker.imaging.codestream import j2k_header, without_boxes
from worker.imaging.colour import ICC_TO_SRGB, to_srgb
from worker.imaging.picture import check_size
from worker.imaging.pyramid import Piece, check_tiles, fitted, paste, piece_for, touched
from worker.imaging.slide import Level
from worker.imaging.streams import stream_in
from worker.imaging.supply import Archived, InMemory, OnDisk, Remote, Supply
from worker.imaging.units import Box, MicronsPerPixel, Size
from worker.imaging.wanted import Limits

FORMAT: Final = "OME-TIFF"
_WHITE: Final = 255
#: TIFF 6.0; Adobe's technical notes 1 and 3; the compression that OME calls JPEG-2000
_J2K: Final = 34712
_LIBTIFF: Final = (1, 5, 7, 8, 32946)  # none, LZW, JPEG, deflate twice
_RGB_LIKE: Final = (2, 6)  # RGB, YCbCr
_GREY_LIKE: Final = (0, 1)
_SEPARATE: Final = 2
_MOST_LEVELS: Final = 32
_MOST_TILES: Final = 1_000_000
#: of one level, read to name the file by
_MOST_NAMING: Final = 16 * 1024 * 1024
_SIZE: Final = re.compile(r"<Pixels\b[^>]*?\bPhysicalSizeX=\"([0-9.eE+-]{1,32})\"")
_UNIT: Final = re.compile(r"<Pixels\b[^>]*?\bPhysicalSizeXUnit=\"([^\"]{1,16})\"")
#: Units.Length of the OME schema; micrometres where none is named
_MICRONS: Final = {"": 1.0, "µm": 1.0, "μm": 1.0, "&#181;m": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


def open_ome_slide(supply: Supply, limits: Limits) -> OmeSlide:
    """To be closed. Raises UnsupportedImage, ImageTooLarge, ImageUnreadable, or what the supply raises."""
    if isinstance(supply, Archived):
        raise UnsupportedImage("OME-TIFF from an archive")
    limit_pixels(limits.max_pixels)
    with ExitStack() as closing, decoding(FORMAT):
        file = closing.enter_context(stream_in(supply))
        tiff = closing.enter_context(tifffile.TiffFile(file, is_ome=False))
        levels = _levels(tiff, file, limits)
        name = _name(supply, levels)
        return OmeSlide(levels, _Described.of(tiff), digest=name, opened=closing.pop_all(), limits=limits)


def _levels(tiff: tifffile.TiffFile, file: BinaryIO, limits: Limits) -> list[_Matrix]:
    """The first directory and those below it, the largest first; levels that are not tiled are left out."""
    first: Any = tiff.pages[0]
    below = list(first.pages or ())[:_MOST_LEVELS]
    tiled = [page for page in (first, *below) if page.is_tiled]
    levels = [_Matrix(page, file, limits.max_pixels) for page in tiled]
    if not levels or levels[0].size != Size(width=first.imagewidth, height=first.imagelength):
        raise UnsupportedImage("OME-TIFF without tiles")
    for larger, smaller in pairwise(levels):
        if smaller.size.width >= larger.size.width or smaller.size.height > larger.size.height:
            raise ImageUnreadable("The levels of an OME-TIFF are not in order.")
    return levels


def _name(supply: InMemory | OnDisk | Remote, levels: Sequence[_Matrix]) -> str:
    """Of the whole file where that is cheap, else of its smallest level and of how long each tile is."""
    if isinstance(supply, InMemory):
        return digests.of_bytes(supply.data)
    if isinstance(supply, OnDisk) and supply.paths[0].stat().st_size <= digests.HASHED_WHOLE:
        return digests.of_file(supply.paths[0])
    lengths = np.asarray(levels[0].lengths, "<u8").tobytes()
    return digests.of_bytes(lengths + levels[-1].stored_first(_MOST_NAMING))


class _Described:
    """What the first directory says of all levels."""

    def __init__(self, spacing: MicronsPerPixel | None, profile: bytes | None, planes: int) -> None:
        self.spacing, self.profile, self.planes = spacing, profile, planes

    @classmethod
    def of(cls, tiff: tifffile.TiffFile) -> _Described:
        """Raises UnsupportedImage for a picture whose colours are channels of their own: one alone would be
        shown as grey."""
        first: Any = tiff.pages[0]
        pages: Any = tiff.pages
        shape = (first.imagewidth, first.imagelength, first.samplesperpixel)
        planes = sum((page.imagewidth, page.imagelength, page.samplesperpixel) == shape for page in pages)
        if planes > 1 and first.samplesperpixel == 1:
            raise UnsupportedImage("OME-TIFF of several channels")
        profile = first.tags.get(34675)
        stored = bytes(profile.value) if profile is not None else None
        return cls(_spacing(first.description), stored, planes)


def _spacing(description: str) -> MicronsPerPixel | None:
    size, unit = _SIZE.search(description), _UNIT.search(description)
    factor = _MICRONS.get(unit[1] if unit else "")
    if size is None or factor is None:
        return None
    try:
        microns = float(size[1]) * factor
    except ValueError:
        return None
    return MicronsPerPixel(microns) if isfinite(microns) and microns > 0 else None


class _Matrix:
    """One level: where its tiles are stored, and how."""

    def __init__(self, page: Any, file: BinaryIO, max_pixels: int) -> None:
        """Raises UnsupportedImage, ImageTooLarge or ImageUnreadable before anything is decoded."""
        self._page, self._file = page, file
        self.size = Size(width=page.imagewidth, height=page.imagelength)
        self.tile = Size(width=page.tilewidth, height=page.tilelength)
        check_size(self.size.width, self.size.height, max_pixels=self.size.pixels)
        check_size(self.tile.width, self.tile.height, max_pixels=max_pixels)
        self._down = -(-self.size.height // self.tile.height)
        self._across = -(-self.size.width // self.tile.width)
        self._samples = int(page.samplesperpixel)
        self._planes = self._samples if int(page.planarconfig or 1) == _SEPARATE else 1
        self._check_samples()
        self.lengths = page.databytecounts
        if self._down * self._across > _MOST_TILES:
            raise ImageTooLarge(f"{self._down * self._across} tiles")
        tiles = self._down * self._across * self._planes
        if len(page.dataoffsets) != tiles or len(self.lengths) != tiles:
            raise ImageUnreadable(f"{len(page.dataoffsets)} tiles are declared where {tiles} are needed.")

    def read(self, piece: Piece) -> NDArray[np.uint8]:
        """Rows x columns x 3. What has no tile is white."""
        canvas = np.full((piece.height, piece.width, 3), _WHITE, np.uint8)
        for row, column in touched(piece, self.tile):
            pixels = self._decoded(row * self._across + column)
            if pixels is not None:
                paste(canvas, pixels, (row, column), self.tile, piece)
        return canvas

    def stored_first(self, most: int) -> bytes:
        """The tiles as they are stored, of so many bytes at most."""
        kept = b""
        for index, length in enumerate(self.lengths):
            if len(kept) + length > most:
                break
            kept += self._stored(index)
        return kept

    def _check_samples(self) -> None:
        page = self._page
        bits = page.bitspersample if isinstance(page.bitspersample, tuple) else (page.bitspersample,)
        if set(bits) != {8} or int(page.sampleformat or 1) != 1:
            raise UnsupportedImage("OME-TIFF with samples of other than 8 bits")
        if int(page.compression) not in (*_LIBTIFF, _J2K):
            raise UnsupportedImage(f"OME-TIFF with compression {int(page.compression)}")
        expected = 3 if int(page.photometric) in _RGB_LIKE else 1
        if int(page.photometric) not in (*_RGB_LIKE, *_GREY_LIKE) or self._samples != expected:
            raise UnsupportedImage(
                f"OME-TIFF with {self._samples} samples, photometric {int(page.photometric)}"
            )

    def _decoded(self, index: int) -> NDArray[np.uint8] | None:
        """Rows x columns x 3; None for a tile that was never written."""
        each = self._down * self._across
        planes = [self._stored(index + plane * each) for plane in range(self._planes)]
        if not all(planes):
            return None
        if self._planes == 1:
            return np.asarray(self._image(planes[0], self._samples).convert("RGB"))
        return np.dstack([np.asarray(self._image(plane, 1).convert("L")) for plane in planes])

    def _stored(self, index: int) -> bytes:
        length = int(self.lengths[index])
        if length > 2 * self._samples * self.tile.pixels + 65_536:
            raise ImageTooLarge(f"A tile of {length} bytes")
        self._file.seek(int(self._page.dataoffsets[index]))
        data = self._file.read(length)
        if len(data) != length:
            raise ImageUnreadable("The file ends within a tile.")
        return data

    def _image(self, data: bytes, samples: int) -> Image.Image:
        if int(self._page.compression) == _J2K:
            return self._of_j2k(without_boxes(data), samples)
        with Image.open(io.BytesIO(self._as_file(data, samples)), formats=("TIFF",)) as image:
            if image.size != (self.tile.width, self.tile.height):
                raise ImageUnreadable("A tile was decoded to another size.")
            image.load()
            return image.copy()

    def _of_j2k(self, stream: bytes, samples: int) -> Image.Image:
        header = j2k_header(stream)
        if (header.columns, header.rows, header.samples, header.bits) != (
            self.tile.width, self.tile.height, samples, 8,
        ):  # fmt: skip
            raise ImageUnreadable("A tile was stored in another size.")
        return Image.fromarray(np.asarray(decode(stream, j2k_format=0), np.uint8))

    def _as_file(self, data: bytes, samples: int) -> bytes:
        """A TIFF with this tile as its only strip, for libtiff."""
        page, directory = self._page, TiffImagePlugin.ImageFileDirectory_v2(b"II*\x00\x00\x00\x00\x00")
        photometric = int(page.photometric) if samples == self._samples else 1
        directory[256], directory[257] = self.tile.width, self.tile.height
        directory[258] = (8,) * samples
        directory[259], directory[262] = int(page.compression), photometric
        directory[273], directory[277], directory[278] = 0, samples, self.tile.height
        directory[279], directory[284] = len(data), 1
        for copied in (317, 347, 530):  # predictor, JPEG tables, subsampling
            tag = page.tags.get(copied)
            if tag is not None:
                directory[copied] = tag.value if copied != 317 else int(tag.value)
        file = io.BytesIO()
        directory.save(file)
        file.write(data)
        return file.getvalue()


class OmeSlide:
    """A Slide. Not for several threads."""

    def __init__(
        self, shown: Sequence[_Matrix], said: _Described, *, digest: str, opened: ExitStack, limits: Limits
    ) -> None:
        self._shown, self._opened, self._limits = shown, opened, limits
        self.format, self.digest, self.spacing = FORMAT, digest, said.spacing
        _, converted = to_srgb(Image.new("RGB", (1, 1)), said.profile)
        self._profile = said.profile if ICC_TO_SRGB in converted else None
        self.steps = (*((f"plane 1 of {said.planes}",) if said.planes > 1 else ()), *converted)
        largest = shown[0].size
        self.levels = tuple(Level(size=one.size, downsample=largest.width / one.size.width) for one in shown)

    def read(self, box: Box, size: Size) -> Image.Image:
        """Raises RegionOutside, ImageTooLarge, ImageUnreadable, or what the supply raises."""
        piece = piece_for(self.levels, box, size, max_pixels=self._limits.max_pixels)
        matrix = self._shown[piece.level]
        check_tiles(piece, matrix.tile, max_pixels=self._limits.max_pixels)
        with decoding(FORMAT):
            pixels = Image.fromarray(matrix.read(piece))
            return to_srgb(fitted(pixels, piece, size), self._profile)[0]

    def close(self) -> None:
        self._opened.close()
