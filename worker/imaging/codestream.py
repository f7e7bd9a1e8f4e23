"""What an encoded frame says of itself, before anybody decodes it.

In: one JPEG, JPEG-LS or JPEG 2000 codestream. Out: rows, columns, samples and bits from its header, or
ImageUnreadable. A decoder believes these and not the data set, so they have to agree first: 600 bytes of
JPEG 2000 can ask for gigabytes. It decodes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from worker.errors import ImageUnreadable

#: ITU-T T.81 table B.1: all start-of-frame markers; T.87: SOF55
_JPEG_FRAMES = (*(0xC0 + n for n in range(16) if n not in (4, 8, 12)), 0xF7)
_JPEG_STANDALONE = (0x01, *range(0xD0, 0xD9))
_JPEG_SCAN_OR_END = (0xDA, 0xD9)
_APP0, _APP14 = 0xE0, 0xEE
#: SOC, then SIZ; ITU-T T.800 A.5.1 wants them in this order
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """As in the codestream, whatever the data set says."""

    rows: int
    columns: int
    samples: int
    #: of one sample
    bits: int
    signed: bool = False


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int


def jpeg_header(stream: bytes) -> Header:
    """From the frame header of JPEG (T.81 B.2.2) or JPEG-LS (T.87 C.2.2)."""
    for marker, start, end in _segments(stream):
        if marker in _JPEG_FRAMES and end - start >= 10:
            return Header(
                bits=stream[start + 4],
                rows=_number(stream, start + 5, 2),
                columns=_number(stream, start + 7, 2),
                samples=stream[start + 9],
            )
    raise ImageUnreadable("A JPEG frame has no readable header.")


def says_ybr(stream: bytes) -> bool | None:
    """Whether a JPEG of three components holds YCbCr or RGB; None where only the data set can say.

    libjpeg's rules: a JFIF marker, else Adobe's transform flag, else components that are called R, G, B.
    Beyond them, components of unequal resolution: nobody takes pixels from green and blue alone.
    """
    adobe = by_frame = None
    for marker, start, end in _segments(stream):
        body = stream[start + 4 : end]
        if marker == _APP0 and body.startswith(b"JFIF"):
            return True
        if marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11] != 0
        if marker in _JPEG_FRAMES and body[6::3].upper() == b"RGB":
            by_frame = False
        elif marker in _JPEG_FRAMES and len(set(body[7::3])) > 1:
            by_frame = True
    return by_frame if adobe is None else adobe


def with_colour_marker(stream: bytes, *, is_ybr: bool) -> bytes:
    """The same JPEG with one Adobe marker that tells every decoder what the three components are."""
    segments = list(_segments(stream))
    kept = (stream[part.start : part.end] for part in segments if part.marker not in (_APP0, _APP14))
    scans = stream[segments[-1].end :]
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([is_ybr])
    return b"".join((b"\xff\xd8", adobe, *kept, scans))


def _segments(stream: bytes) -> Iterator[_Segment]:
    """The marker segments before the first scan (T.81 B.1.1), without fill bytes."""
    place = 2 if stream[:2] == b"\xff\xd8" else len(stream)
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _JPEG_SCAN_OR_END:
            return
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + (0 if marker in _JPEG_STANDALONE else _number(stream, place + 2, 2))
        if end > len(stream):
            return
        yield _Segment(marker, place, end)
        place = end


def j2k_header(stream: bytes) -> Header:
    """From the SIZ marker segment (T.800 A.5.1) of a bare codestream."""
    if not stream.startswith(_J2K_START) or len(stream) < 45:
        raise ImageUnreadable("A JPEG 2000 frame has no readable header.")
    width, height, left, top = (_number(stream, place, 4) for place in (8, 12, 16, 20))
    depth = stream[42]
    return Header(
        rows=height - top,
        columns=width - left,
        samples=_number(stream, 40, 2),
        bits=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
    )


def without_boxes(stream: bytes) -> bytes:
    """The codestream in a JP2 file. PS3.5 A.4.4 wants it bare; some writers leave the file around it."""
    if not stream.startswith(_JP2_SIGNATURE):
        return stream
    place = 0
    while place + 8 <= len(stream):
        length, kind = _number(stream, place, 4), stream[place + 4 : place + 8]
        start = place + (16 if length == 1 else 8)
        if length == 1:
            length = _number(stream, place + 8, 8)
        end = len(stream) if length == 0 else place + length
        if kind == b"jp2c":
            return stream[start:end]
        if end <= place:
            break
        place = end
    raise ImageUnreadable("A JPEG 2000 frame has no codestream.")


def _number(stream: bytes, place: int, width: int) -> int:
    return int.from_bytes(stream[place : place + width], "big")
