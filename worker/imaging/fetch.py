"""A reference becomes bytes, from where the operator allows it.

In: a `file:`, `upload:` or `https:` reference. Out: its bytes, at most as many as allowed, or a refusal. It
does not look inside, and it never says in which folder something lies or is missing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote

import httpx

from worker import uploads
from worker.errors import (
    AddressRefused,
    FetchFailed,
    ImageMissing,
    ImageTooLarge,
    ImageUnreadable,
    ReferenceForbidden,
    UnknownScheme,
)
from worker.settings import ImagingSettings

_BUSY = (408, 425, 429)
_MOVED = range(300, 400)
_NO_LINK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
#: a FIFO would otherwise keep whoever opens it waiting for a writer
_NO_WAIT = os.O_NONBLOCK | os.O_NOCTTY


class FetchHttps(Protocol):
    """Gets what lies under an `https:` URL; raises as `fetch_https` does."""

    def __call__(self, url: str, max_bytes: int) -> bytes: ...


def fetch(reference: str, *, settings: ImagingSettings, fetch_https: FetchHttps) -> bytes:
    """The bytes behind `reference`.

    Raises UnknownScheme, ReferenceForbidden, ImageMissing, ImageTooLarge, or FetchFailed, which is worth
    another try.
    """
    scheme = reference.partition(":")[0].lower()
    if scheme == "file":
        return _read_file(reference, settings.image_roots, settings.max_image_bytes)
    if scheme == "upload":
        return _read_upload(reference, settings.uploads_dir, settings.max_image_bytes)
    if scheme == "https":
        return fetch_https(reference, settings.max_image_bytes)
    raise UnknownScheme


def path_in(reference: str) -> Path:
    """The absolute path of `file:/path`, `file:///path` or `file://localhost/path` (RFC 8089).

    Raises ReferenceForbidden for another host, a relative path, or a path with a null byte.
    """
    place = reference.partition(":")[2]
    if place.startswith("//"):
        host, slash, rest = place[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise ReferenceForbidden
        place = slash + rest
    path = unquote(place, errors="surrogateescape")
    if not path.startswith("/") or "\0" in path:
        raise ReferenceForbidden
    return Path(path)


def _read_file(reference: str, roots: Sequence[Path], max_bytes: int) -> bytes:
    try:
        path = path_in(reference).resolve()
        root = next(root for root in (root.resolve() for root in roots) if path.is_relative_to(root))
    except (StopIteration, RuntimeError, OSError):  # RuntimeError: links that lead in a circle
        raise ReferenceForbidden from None
    try:
        with _open_below(root, path) as file:
            return _read(file, max_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageMissing from None
    except PermissionError:
        raise ReferenceForbidden from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ReferenceForbidden from None
        raise FetchFailed from None


def _open_below(root: Path, path: Path) -> BinaryIO:
    """Goes down from `root` folder by folder and follows no link: `path` is resolved, so one that is met
    was put there after it was checked."""
    parts = path.relative_to(root).parts
    if not parts:
        raise ReferenceForbidden
    here = os.open(root, _NO_LINK | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, _NO_LINK | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        return _opened(os.open(parts[-1], _NO_LINK | _NO_WAIT, dir_fd=here))
    finally:
        os.close(here)


def _opened(descriptor: int) -> BinaryIO:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ReferenceForbidden
    return os.fdopen(descriptor, "rb")


def _read_upload(reference: str, folder: Path, max_bytes: int) -> bytes:
    path = uploads.path_of(folder, reference)
    try:
        with path.open("rb") as file:
            data = _read(file, max_bytes)
    except FileNotFoundError:
        raise ImageMissing from None
    except OSError:
        raise FetchFailed from None
    if hashlib.sha256(data).hexdigest() != reference.removeprefix("upload:sha256-"):
        raise ImageUnreadable("The upload does not match its digest.")
    return data


def _read(file: BinaryIO, max_bytes: int) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size > max_bytes:
        raise ImageTooLarge(f"{size} bytes; at most {max_bytes} are read.")
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ImageTooLarge(f"At most {max_bytes} bytes are read.")
    return data


def https_fetcher(client: httpx.Client) -> FetchHttps:
    """`client` keeps to the operator's list (`worker.pinned.pinned_client`)."""
    return partial(fetch_https, client)


def fetch_https(client: httpx.Client, url: str, max_bytes: int) -> bytes:
    """One GET, without redirects.

    Raises ReferenceForbidden, ImageMissing, ImageTooLarge, or FetchFailed, which is worth another try.
    """
    try:
        if httpx.URL(url).userinfo:
            raise ReferenceForbidden
        with client.stream("GET", url, headers={"accept-encoding": "identity"}) as answer:
            _check_status(answer.status_code)
            return _read_answer(answer, max_bytes)
    except (AddressRefused, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        # httpx lets IDNA's UnicodeError through, of the URL and of a Location it does not follow
        raise ReferenceForbidden from None
    except httpx.HTTPError:
        raise FetchFailed from None


def _check_status(status: int) -> None:
    if status == httpx.codes.OK:
        return
    if status in _BUSY or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise FetchFailed(f"HTTP {status}")
    if status in _MOVED or status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise ReferenceForbidden(f"HTTP {status}")
    raise ImageMissing(f"HTTP {status}")


def _read_answer(answer: httpx.Response, max_bytes: int) -> bytes:
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
