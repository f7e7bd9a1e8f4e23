"""What a file is, by its content: names and media types are what somebody says it is.

In: bytes. Out: the kind that a reader of this room takes, or UnsupportedImage with the name of the format
where it is a well-known one; and what kind of slide a TIFF is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, BinaryIO

from PIL import TiffImagePlugin

from worker.errors import ImageUnreadable, UnsupportedImage

PREAMBLE = 128
_MOST_DATA_SETS_BEGIN_WITH = (0x0002, 0x0008)

_READ = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
_NOT_READ = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
)


def kind_of(data: bytes) -> str:
    """`DICOM`, `PNG`, `JPEG`, `TIFF` or `WEBP`. Raises UnsupportedImage, or ImageUnreadable for no bytes."""
    if not data:
        raise ImageUnreadable("The file is empty.")
    # First, because a slide may be DICOM and TIFF at once: the TIFF header fits into the preamble
    # (PS3.10 section 7.1), and only the data set says whether it is a label.
    if data[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return "DICOM"
    for magic, kind in _READ:
        if data.startswith(magic):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if _is_dicom_without_preamble(data):
        return "DICOM"
    if data[4:8] == b"ftyp":
        raise UnsupportedImage("HEIF or AVIF")
    raise UnsupportedImage(next((name for magic, name in _NOT_READ if data.startswith(magic)), ""))


def _is_dicom_without_preamble(data: bytes) -> bool:
    """A first element of group 0002 or 0008 with a VR, or a length that a first element may have."""
    if len(data) < PREAMBLE:
        return False
    groups = (int.from_bytes(data[:2], "little"), int.from_bytes(data[:2], "big"))
    if not any(group in _MOST_DATA_SETS_BEGIN_WITH for group in groups):
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or int.from_bytes(data[4:8], "little") <= 64


#: TIFF 6.0 section 15; TIFF Tech Note 1; Hamamatsu's own, in every directory of an NDPI file
_WIDTH, _DESCRIPTION, _TILE_WIDTH, _SUB_DIRECTORIES, _NDPI = 256, 270, 322, 330, 65420
#: Pillow passes over the type that BigTIFF may give SubIFDs (18, IFD8)
_OME = "openmicroscopy.org/Schemas/OME"
_BIG_TIFF = 43
_MOST_DIRECTORIES = 64


class SlideTiff(Enum):
    """Where a slide's levels lie in a TIFF."""

    CHAIN = auto()  #: one directory after the other, as Aperio, Hamamatsu and most others write them
    BELOW = auto()  #: below the first directory, as OME-TIFF has them


def slide_tiff(file: BinaryIO) -> SlideTiff | None:
    """A tiled pyramid, or what Aperio or Hamamatsu wrote. What cannot be parsed is none: the reader of plain
    TIFF says why."""
    widths: list[Any] = []
    for tags in _directories(file):
        if _NDPI in tags:
            return SlideTiff.CHAIN
        if not widths and _TILE_WIDTH not in tags:
            return None
        if not widths and str(tags.get(_DESCRIPTION)).startswith("Aperio"):
            return SlideTiff.CHAIN
        if not widths and (_SUB_DIRECTORIES in tags or _OME in str(tags.get(_DESCRIPTION))):
            return SlideTiff.BELOW
        if _TILE_WIDTH in tags:
            widths.append(tags.get(_WIDTH))
    return SlideTiff.CHAIN if any(width < widths[0] for width in widths[1:]) else None


def _directories(file: BinaryIO) -> Iterator[TiffImagePlugin.ImageFileDirectory_v2]:
    """The chain of them, without what they point to."""
    file.seek(0)
    header = file.read(8)
    if int.from_bytes(header[2:4], "little" if header[:2] == b"II" else "big") == _BIG_TIFF:
        header += file.read(8)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        for _ in range(_MOST_DIRECTORIES):
            if not tags.next:
                return
            file.seek(tags.next)
            tags.load(file)
            yield tags
    except (SyntaxError, OSError, ValueError, IndexError, struct.error):
        return
