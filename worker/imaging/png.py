"""PNG of an 8-bit RGB picture, quickly (ISO/IEC 15948). Pure.

In: a picture. Out: the bytes of a file that shows the same pixels. Every row is written as its difference
from the one above, and compressed by runs and frequencies alone: tissue repeats little else
(docs/decisions/0024).
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from PIL import Image

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: bits a sample; truecolour; deflate; the five filters of clause 9; not interlaced (clause 11.2.2)
_KIND: Final = (8, 2, 0, 0, 0)
#: filter type `Up` (clause 9.2)
_UP: Final = 2
_QUICKEST: Final = 1


def png_of(picture: Image.Image) -> bytes:
    """`picture` is in mode RGB."""
    width, height = picture.size
    header = struct.pack("!II5B", width, height, *_KIND)
    data = _compressed(_differences(np.asarray(picture).reshape(height, 3 * width)))
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _differences(rows: np.ndarray) -> np.ndarray:
    """(height, 1 + 3 width): its filter before each row."""
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _compressed(filtered: np.ndarray) -> bytes:
    stream = zlib.compressobj(_QUICKEST, strategy=zlib.Z_RLE)
    return stream.compress(filtered.data) + stream.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Length, type, data, CRC of the last two (clause 5.3)."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", checksum)
