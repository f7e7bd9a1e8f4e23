"""DICOMweb: requests to one archive, by QIDO-RS and WADO-RS (PS3.18), through the pinned client.

In: an archive, and a path below it. Out: the DICOM JSON model, or parts of an answer; Again where asking
again may help, or a refusal. It counts what comes against the image's budget, follows no redirect, and
unpacks nothing. It does not know what a frame or a series is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from worker.errors import (
    AddressRefused,
    FetchFailed,
    ImageMissing,
    ImageTooLarge,
    ReferenceForbidden,
    UnsupportedImage,
)
from worker.imaging.archives import Access
from worker.imaging.multipart import Malformed, Part, TooLarge, boundary_of, parts
from worker.imaging.patience import Again

JSON: Final = "application/dicom+json"
#: PS3.18 section 8.7.3.5.2: `*` asks for the bytes as they are stored; an image type would be transcoded
STORED: Final = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
MOST_METADATA_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Budget:
    """What one image of a job may still cost."""

    bytes: int
    frames: int

    def take_bytes(self, count: int) -> None:
        """Raises ImageTooLarge."""
        self.bytes -= count
        if self.bytes < 0:
            raise ImageTooLarge("More bytes than this server fetches from an archive for one image.")

    def take_frames(self, count: int) -> None:
        """Raises ImageTooLarge."""
        self.frames -= count
        if self.frames < 0:
            raise ImageTooLarge("More frames than this server fetches from an archive for one image.")


def dicom_json(access: Access, path: str, budget: Budget) -> list[dict[str, Any]]:
    """Data sets in the DICOM JSON model (PS3.18 F). Raises Again, FetchFailed, or an ImageRefused."""
    with _asked(access, f"{access.url}{path}", JSON) as answer:
        if answer.status_code == httpx.codes.NO_CONTENT:  # of a search that found nothing
            return []
        body = bytearray()
        for chunk in _counted(answer, budget):
            body += chunk
            if len(body) > MOST_METADATA_BYTES:
                raise ImageTooLarge(f"More than {MOST_METADATA_BYTES} bytes of metadata.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise FetchFailed("The archive's metadata is not JSON.") from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise FetchFailed("The archive's metadata is not the DICOM JSON model.")
    return found


def related_parts(access: Access, path: str, budget: Budget) -> Iterator[Part]:
    """Parts as they come, so that those before a break are there when it raises Again."""
    return _parts(access, f"{access.url}{path}", budget)


def bulk_data(access: Access, url: str, budget: Budget, *, max_bytes: int) -> bytes:
    """One value that metadata has only a link to. Raises Again, FetchFailed, ReferenceForbidden for a link
    that leads out of the archive, or another ImageRefused."""
    if not url.startswith(f"{access.url}/") or ".." in url:
        raise ReferenceForbidden
    for part in _parts(access, url, budget):
        if len(part.body) > max_bytes:
            raise ImageTooLarge(f"More than {max_bytes} bytes of bulk data.")
        return part.body
    raise FetchFailed("The archive's answer has no parts.")


def _parts(access: Access, url: str, budget: Budget) -> Iterator[Part]:
    with _asked(access, url, STORED) as answer:
        if answer.status_code == httpx.codes.NO_CONTENT:
            raise ImageMissing
        try:
            boundary = boundary_of(answer.headers.get("content-type", ""))
        except Malformed:
            raise UnsupportedImage("The archive does not answer with multipart/related.") from None
        try:
            yield from parts(boundary, _counted(answer, budget), max_part=max(budget.bytes, 0))
        except Malformed:
            raise Again("The archive's answer broke off.") from None
        except TooLarge:
            raise ImageTooLarge("A frame is larger than this server fetches from an archive.") from None


@contextmanager
def _asked(access: Access, url: str, accept: str) -> Iterator[httpx.Response]:
    headers = {"accept": accept, "accept-encoding": "identity", **access.headers()}
    try:
        with access.client.stream("GET", url, headers=headers) as answer:
            _check(answer)
            yield answer
    except (AddressRefused, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        raise ReferenceForbidden from None
    except httpx.HTTPError:
        raise Again("") from None


def _check(answer: httpx.Response) -> None:
    status, said = answer.status_code, f"HTTP {answer.status_code}"
    if status in (httpx.codes.OK, httpx.codes.NO_CONTENT, httpx.codes.PARTIAL_CONTENT):
        return
    if status in (408, 425, 429) or answer.is_server_error:
        raise Again(said, after=answer.headers.get("retry-after", ""))
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise ImageMissing(said)
    if answer.is_redirect or 300 <= status < 400 or status in (401, 403):
        raise ReferenceForbidden(said)
    raise UnsupportedImage(said)


def _counted(answer: httpx.Response, budget: Budget) -> Iterator[bytes]:
    """The bytes as they were sent: nothing is unpacked."""
    announced = answer.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > budget.bytes:
        budget.take_bytes(int(announced))
    for chunk in answer.iter_raw():
        budget.take_bytes(len(chunk))
        yield chunk
