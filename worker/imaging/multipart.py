"""Multipart: the body of a `multipart/related` answer becomes its parts (RFC 2046 section 5.1, RFC 2387).

In: the Content-Type and pieces of the body as they come. Out: parts, each as soon as it is complete; so of an
answer that breaks off, what came before is kept. It reads strictly: what is not as the RFC says is Malformed.
It does not know what is in a part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message

#: headers of one part, and what may stand before the first
MOST_HEADER_BYTES = 16 * 1024
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PADDING = b" \t"


class Malformed(Exception):
    """It is not multipart/related, or it broke off."""


class TooLarge(Exception):
    """A part is larger than allowed."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Part:
    #: `image/jpeg`; empty where it says nothing
    media_type: str
    #: UID; empty where it says nothing
    transfer_syntax: str
    location: str
    body: bytes


def boundary_of(content_type: str) -> bytes:
    """Raises Malformed for any other kind of answer."""
    said = _content_type(content_type)
    boundary = _parameter(said, "boundary")
    if said.get_content_type() != "multipart/related" or _BOUNDARY.fullmatch(boundary) is None:
        raise Malformed
    return boundary.encode("ascii")


def parts(boundary: bytes, chunks: Iterable[bytes], *, max_part: int) -> Iterator[Part]:
    """Raises Malformed, TooLarge, and what `chunks` raises."""
    reader = _Reader(chunks)
    # The first delimiter may stand at the very beginning, without the line break that belongs to the others.
    reader.buffer += b"\r\n"
    delimiter = b"\r\n--" + boundary
    reader.until(delimiter, MOST_HEADER_BYTES)
    while not _is_last(reader):
        headers = _headers(reader.until(b"\r\n\r\n", MOST_HEADER_BYTES))
        body = reader.until(delimiter, max_part, too_large=TooLarge)
        yield _part(headers, body)


class _Reader:
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.buffer = bytearray()

    def until(self, mark: bytes, most: int, *, too_large: type[Exception] = Malformed) -> bytes:
        """What comes before `mark`, which is taken off too."""
        looked_at = 0
        while (found := self.buffer.find(mark, looked_at)) < 0:
            looked_at = max(len(self.buffer) - len(mark) + 1, 0)
            if looked_at > most:
                raise too_large
            self._more()
        if found > most:
            raise too_large
        data = bytes(self.buffer[:found])
        del self.buffer[: found + len(mark)]
        return data

    def peek(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self._more()
        return bytes(self.buffer[:count])

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise Malformed
        self.buffer += chunk


def _is_last(reader: _Reader) -> bool:
    """After a delimiter: `--` behind the last part, else white space and the end of the line."""
    if reader.peek(2) == b"--":
        return True
    if reader.until(b"\r\n", MOST_HEADER_BYTES).strip(_PADDING):
        raise Malformed
    # The empty line may follow at once: then the part has no headers.
    reader.buffer[:0] = b"\r\n"
    return False


def _headers(block: bytes) -> Message:
    message = Message()
    try:
        lines = block.decode("ascii").removeprefix("\r\n").split("\r\n")
    except UnicodeDecodeError:
        raise Malformed from None
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or name != name.strip():
            raise Malformed
        message[name] = value.strip()
    return message


def _part(headers: Message, body: bytes) -> Part:
    length = str(headers.get("content-length", ""))
    if length and length != str(len(body)):
        raise Malformed
    said = _content_type(str(headers.get("content-type", "")))
    return Part(
        media_type=said.get_content_type() if "content-type" in said else "",
        transfer_syntax=_parameter(said, "transfer-syntax"),
        location=str(headers.get("content-location", "")),
        body=body,
    )


def _content_type(value: str) -> Message:
    said = Message()
    if value:
        said["content-type"] = value
    return said


def _parameter(said: Message, name: str) -> str:
    value = said.get_param(name)
    return value.strip() if isinstance(value, str) else ""
