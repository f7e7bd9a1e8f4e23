"""Uploaded: an `upload:` reference becomes files on disk, whose digests were checked.

In: a reference and the folder of uploads. Out: their places, or a refusal. Files are hashed as they stream
by, never held. A small one is hashed whenever it is opened; a large one once by each process, as long as it
is the same file (device, inode, size): the folder is ours alone, so what that still finds is a file that
was cut or damaged on the way to this disk, and it would cost seconds for each question about a slide.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from worker import uploads
from worker.errors import FetchFailed, ImageMissing, ImageUnreadable
from worker.imaging.files import check_bytes
from worker.imaging.supply import OnDisk

#: larger files are hashed once
SMALL = 64 * 1024 * 1024
MOST_REMEMBERED = 4096

#: digest, device, inode, size
Seen = tuple[str, int, int, int]


class Verified:
    """Which large files were found to be what their names say, in this process."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Seen, None] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, seen: Seen) -> bool:
        with self._lock:
            return seen in self._seen

    def add(self, seen: Seen) -> None:
        with self._lock:
            self._seen[seen] = None
            while len(self._seen) > MOST_REMEMBERED:
                self._seen.popitem(last=False)


def upload_supply(
    reference: str, folder: Path, *, max_bytes: int, verified: Verified, small: int = SMALL
) -> OnDisk:
    """`max_bytes`: of all files. Raises ReferenceForbidden, ImageMissing, ImageTooLarge, ImageUnreadable or
    FetchFailed."""
    paths = uploads.paths_of(folder.absolute(), reference)
    try:
        check_bytes(_size(paths), max_bytes)
        for path, digest in zip(paths, uploads.digests_of(reference), strict=True):
            _check(path, digest, verified, small)
    except FileNotFoundError:
        raise ImageMissing from None
    except OSError:
        raise FetchFailed from None
    return OnDisk(paths=paths)


def _size(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _check(path: Path, digest: str, verified: Verified, small: int) -> None:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        seen = (digest, status.st_dev, status.st_ino, status.st_size)
        if status.st_size > small and seen in verified:
            return
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ImageUnreadable("The upload does not match its digest.")
        verified.add(seen)
