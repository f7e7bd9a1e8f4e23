"""Web: an `https:` reference becomes bytes, or a file that is read in pieces.

In: a URL, and a client that keeps to the operator's list. Out: a supply; small files whole, larger ones in
pieces where the server can give them and can say whether the file is still the same. It follows no redirect.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from worker.errors import AddressRefused, FetchFailed, ImageMissing, ImageTooLarge, ReferenceForbidden
from worker.imaging.files import check_bytes
from worker.imaging.patience import Again, patiently
from worker.imaging.pieces import Blocks
from worker.imaging.supply import InMemory, Remote

_BUSY = (408, 425, 429)
_MOVED = range(300, 400)
_CHANGED = "It was changed while it was read."
#: RFC 9110 section 14.4
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """In bytes."""

    #: a larger file is read in pieces
    whole: int
    #: of a file whose server knows no pieces
    most_whole: int
    #: of a file that is read in pieces
    most: int
    #: of the pieces of one image, together
    pieces: int


def web_supply(
    client: httpx.Client, url: str, *, limits: FetchLimits, sleep: Callable[[float], object] = time.sleep
) -> InMemory | Remote:
    """Raises ReferenceForbidden, ImageMissing, ImageTooLarge, or FetchFailed, which is worth another try."""
    beginning = {"range": f"bytes=0-{limits.whole - 1}"}
    with _errors(), _asked(client, url, beginning) as answer:
        if answer.status_code == httpx.codes.OK:
            return InMemory(data=_read(answer, limits.most_whole))
        if answer.status_code == httpx.codes.PARTIAL_CONTENT:
            start, end, size = _range_of(answer)
            if (start, end) == (0, size - 1):
                return InMemory(data=_read(answer, size))
            same = _validator(answer.headers)
            if start == 0 and size > limits.whole and same:
                check_bytes(size, limits.most)
                file = _WebFile(client=client, url=url, size=size, same=same, sleep=sleep)
                return Remote(file=Blocks(file.get, size, max_bytes=limits.pieces))
        elif answer.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            check_status(answer.status_code)
    return InMemory(data=fetch_https(client, url, limits.most_whole))


def fetch_https(client: httpx.Client, url: str, max_bytes: int) -> bytes:
    """The whole file, with one GET. Raises as `web_supply` does."""
    with _errors(), _asked(client, url, {}) as answer:
        check_status(answer.status_code)
        return _read(answer, max_bytes)


def check_status(status: int) -> None:
    """Raises ReferenceForbidden, ImageMissing, or FetchFailed, unless it is 200."""
    if status == httpx.codes.OK:
        return
    if status in _BUSY or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise FetchFailed(f"HTTP {status}")
    if status in _MOVED or status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise ReferenceForbidden(f"HTTP {status}")
    raise ImageMissing(f"HTTP {status}")


@contextmanager
def _asked(client: httpx.Client, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    if httpx.URL(url).userinfo:
        raise ReferenceForbidden
    with client.stream("GET", url, headers={"accept-encoding": "identity", **headers}) as answer:
        yield answer


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (AddressRefused, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        # httpx lets IDNA's UnicodeError through, of the URL and of a Location it does not follow
        raise ReferenceForbidden from None
    except httpx.HTTPError:
        raise FetchFailed from None


def _read(answer: httpx.Response, max_bytes: int) -> bytes:
    """The bytes as they were sent: nothing is unpacked, so no small answer grows large here."""
    announced = answer.headers.get("content-length", "")
    data = bytearray()
    if not (announced.isdecimal() and int(announced) > max_bytes):
        for chunk in answer.iter_raw():
            data += chunk
            if len(data) > max_bytes:
                break
        else:
            return bytes(data)
    raise ImageTooLarge(f"At most {max_bytes} bytes are read.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _WebFile:
    """A file that is read in pieces."""

    client: httpx.Client
    url: str
    size: int
    #: the condition under which it is the same file still
    same: Mapping[str, str]
    sleep: Callable[[float], object]

    def get(self, offset: int, length: int) -> bytes:
        return patiently(lambda: self._piece(offset, length), sleep=self.sleep)

    def _piece(self, offset: int, length: int) -> bytes:
        """Raises Again for what may pass soon; FetchFailed for a file that is another one now."""
        headers = {"range": f"bytes={offset}-{offset + length - 1}", **self.same}
        try:
            with _asked(self.client, self.url, headers) as answer:
                self._check(answer, (offset, offset + length - 1, self.size))
                return _read(answer, length)
        except AddressRefused:
            raise ReferenceForbidden from None
        except httpx.HTTPError:
            raise Again("") from None

    def _check(self, answer: httpx.Response, asked: tuple[int, int, int]) -> None:
        status, now = answer.status_code, _validator(answer.headers)
        if status in _BUSY or answer.is_server_error:
            raise Again(f"HTTP {status}", after=answer.headers.get("retry-after", ""))
        if status in (httpx.codes.OK, httpx.codes.PRECONDITION_FAILED):
            raise FetchFailed(_CHANGED)
        if status != httpx.codes.PARTIAL_CONTENT:
            check_status(status)
        # of a server that does not look at conditions
        if _range_of(answer) != asked or (now and now != self.same):
            raise FetchFailed(_CHANGED)


def _range_of(answer: httpx.Response) -> tuple[int, int, int]:
    """First byte, last byte, size of the file; zeros where that is not said."""
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _validator(headers: httpx.Headers) -> dict[str, str]:
    """What makes a later request fail if the file is not the same any more (RFC 9110 section 13.1).
    A weak ETag does not: two files may share it."""
    tag, modified = headers.get("etag", ""), headers.get("last-modified", "")
    if tag.startswith('"'):
        return {"if-match": tag}
    return {"if-unmodified-since": modified} if modified else {}
