"""A whole slide as a scanner's maker stores it, through OpenSlide.

In: a file on disk or in memory, and the operator's limits. Out: a Slide, or a refusal, or None for what
OpenSlide does not read. Pictures of the slide's label are never opened. OpenSlide comes with the extra
`slides` and is not loaded before somebody asks for such a slide.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageCms

from worker.errors import ImageTooLarge, ReferenceForbidden, UnsupportedImage
from worker.imaging import digests
from worker.imaging.boundary import decoding
from worker.imaging.colour import ICC_TO_SRGB, ICC_UNUSABLE, on_white, to_srgb
from worker.imaging.pyramid import check_tiles, fitted, piece_for
from worker.imaging.slide import Level
from worker.imaging.supply import Archived, InMemory, OnDisk, Remote, Supply
from worker.imaging.units import Box, MicronsPerPixel, Size
from worker.imaging.wanted import Limits

if TYPE_CHECKING:
    from openslide import OpenSlide

#: as OpenSlide calls them
_NAMES = {
    "aperio": "Aperio SVS",
    "hamamatsu": "Hamamatsu NDPI",
    "mirax": "3DHISTECH MRXS",
    "generic-tiff": "tiled TIFF",
    "leica": "Leica SCN",
    "philips": "Philips TIFF",
    "trestle": "Trestle TIFF",
    "ventana": "Ventana BIF",
}
_MIRAX_FILE = re.compile(rb"^\s*FILE_\d+\s*=\s*(.*?)\s*$", re.MULTILINE)
_MOST_SLIDEDAT = 16 * 1024 * 1024


def open_scanner_slide(supply: Supply, limits: Limits) -> ScannerSlide | None:
    """Raises UnsupportedImage without the extra, ImageTooLarge for a remote file of more bytes than are read
    whole, ReferenceForbidden for a MRXS whose folder points elsewhere, or another ImageRefused."""
    opened = ExitStack()
    try:
        with decoding("slide"):
            path = opened.enter_context(_path(supply, limits))
            slide, vendor = _open(path)
            if slide is None:
                opened.close()
                return None
            opened.callback(slide.close)
            return ScannerSlide(slide, vendor, _digest(slide, supply), opened, limits)
    except BaseException:
        opened.close()
        raise


def is_mirax(path: Path) -> bool:
    """A MRXS file is a photograph with a folder of the same name beside it, which holds the slide."""
    return path.suffix.lower() == ".mrxs" and (path.with_suffix("") / "Slidedat.ini").is_file()


def _open(path: Path) -> tuple[OpenSlide | None, str]:
    try:
        import openslide  # noqa: PLC0415 - an extra
    except ImportError:
        raise UnsupportedImage("A scanner's own format needs the extra `slides`.") from None
    vendor = openslide.OpenSlide.detect_format(path)
    if vendor not in _NAMES:
        return None, ""
    if vendor == "mirax":
        _check_mirax(path)
    return openslide.OpenSlide(path), vendor


@contextmanager
def _path(supply: Supply, limits: Limits) -> Iterator[Path]:
    """A file that OpenSlide can open. It reads no streams, so what is elsewhere is laid into memory first."""
    if isinstance(supply, Archived):
        raise UnsupportedImage("scanner's format from an archive")
    if isinstance(supply, OnDisk):
        yield supply.paths[0]
        return
    with os.fdopen(os.memfd_create("slide"), "wb") as file:
        file.write(supply.data if isinstance(supply, InMemory) else _whole(supply, limits))
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _whole(supply: Remote, limits: Limits) -> bytes:
    size = supply.file.size
    if size > limits.max_bytes:
        raise ImageTooLarge(
            f"{size} bytes; at most {limits.max_bytes} of a scanner's format are read remotely."
        )
    return supply.file.read(0, size)


def _check_mirax(path: Path) -> None:
    """All files of the slide lie in its folder: Slidedat.ini names them, and could name others."""
    folder = path.with_suffix("")
    index = folder / "Slidedat.ini"
    if folder.is_symlink() or any(entry.is_symlink() or not entry.is_file() for entry in folder.iterdir()):
        raise ReferenceForbidden
    if index.stat().st_size > _MOST_SLIDEDAT:
        raise ImageTooLarge("Slidedat.ini")
    names = [name for name in _MIRAX_FILE.findall(index.read_bytes()) if b"/" in name or b"\\" in name]
    if names:
        raise ReferenceForbidden


def _digest(slide: OpenSlide, supply: Supply) -> str:
    """Of the whole file where it is small, else OpenSlide's own, over the smallest level and properties."""
    if isinstance(supply, InMemory):
        return digests.of_bytes(supply.data)
    path = supply.paths[0] if isinstance(supply, OnDisk) else None
    if path and not is_mirax(path) and path.stat().st_size <= digests.HASHED_WHOLE:
        return digests.of_file(path)
    return "sha256:" + slide.properties.get("openslide.quickhash-1", "")


class ScannerSlide:
    """A Slide. Not for several threads."""

    def __init__(self, slide: OpenSlide, vendor: str, digest: str, opened: ExitStack, limits: Limits) -> None:
        self._slide = slide
        self._opened = opened
        self._limits = limits
        self._profile, self.steps = _profile(slide)
        self.format = _NAMES[vendor]
        self.digest = digest
        self.spacing = _spacing(slide)
        largest, _ = slide.level_dimensions[0]
        self.levels = tuple(
            Level(size=Size(width=width, height=height), downsample=largest / width)
            for width, height in slide.level_dimensions
        )

    def read(self, box: Box, size: Size) -> Image.Image:
        """Raises RegionOutside, ImageTooLarge or ImageUnreadable."""
        piece = piece_for(self.levels, box, size, max_pixels=self._limits.max_pixels)
        check_tiles(piece, self._tile(piece.level), max_pixels=self._limits.max_pixels)
        level, largest = self.levels[piece.level].size, self.levels[0].size
        place = (piece.left * largest.width / level.width, piece.top * largest.height / level.height)
        with decoding(self.format):
            region = self._slide.read_region(
                (round(place[0]), round(place[1])), piece.level, (piece.width, piece.height)
            )
            return to_srgb(fitted(on_white(region), piece, size), self._profile)[0]

    def close(self) -> None:
        self._opened.close()

    def _tile(self, level: int) -> Size:
        of = self._slide.properties.get
        return Size(
            width=int(of(f"openslide.level[{level}].tile-width", 1)),
            height=int(of(f"openslide.level[{level}].tile-height", 1)),
        )


def _spacing(slide: OpenSlide) -> MicronsPerPixel | None:
    try:
        both = [float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy"]
    except (KeyError, ValueError):
        return None
    mean = sum(both) / 2
    return MicronsPerPixel(mean) if isfinite(mean) and min(both) > 0 else None


def _profile(slide: OpenSlide) -> tuple[bytes | None, tuple[str, ...]]:
    try:
        profile = slide.color_profile
    except (ImageCms.PyCMSError, OSError):
        return None, (ICC_UNUSABLE,)
    if profile is None:
        return None, ()
    stored = profile.tobytes()
    _, converted = to_srgb(Image.new("RGB", (1, 1)), stored)
    return (stored if ICC_TO_SRGB in converted else None), converted
