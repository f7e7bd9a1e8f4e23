"""Uploads: bytes somebody sent, kept on disk under their own digest; and the pictures a model was shown.

In: a stream of bytes. Out: an `upload:sha256-...` reference, and the file it stands for. File names are
made from a digest alone, never from what the sender called the image. It does not look inside.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.errors import DiskFull, ImageMissing, ImageTooLarge, PatchNotKept, ReferenceForbidden

#: below the folder of uploads; their own folders have names of two letters
PATCHES = "patches"
_PIXELS_DIGEST = re.compile(r"^sha256:([0-9a-f]{64})$")
_REFERENCE = re.compile(r"^upload:sha256-([0-9a-f]{64})$")


def keep(folder: Path, chunks: Iterable[bytes], *, max_bytes: int, reserve_bytes: int = 0) -> str:
    """Write `chunks` under their digest and give the reference. The same bytes are kept once.

    Raises ImageTooLarge as soon as `max_bytes` is passed, and DiskFull before less than `reserve_bytes` would
    be free; nothing is left behind then.
    """
    draft = Draft(folder, max_bytes=max_bytes, reserve_bytes=reserve_bytes)
    try:
        for chunk in chunks:
            draft.write(chunk)
        return draft.keep()
    finally:
        draft.discard()


def path_of(folder: Path, reference: str) -> Path:
    """The file behind an `upload:` reference. Raises ReferenceForbidden or ImageMissing."""
    found = _REFERENCE.match(reference)
    if found is None:
        raise ReferenceForbidden
    path = _place(folder, found[1])
    if not path.is_file():
        raise ImageMissing
    return path


def patch_path(folder: Path, digest: str) -> Path:
    """Where the picture with these pixels is, or would be. `digest` is a PatchRecord's `pixels_digest`.

    Raises PatchNotKept for what is no digest.
    """
    found = _PIXELS_DIGEST.match(digest)
    if found is None:
        raise PatchNotKept
    return folder / PATCHES / f"{found[1]}.png"


def keep_patch(folder: Path, digest: str, png: bytes, *, reserve_bytes: int = 0) -> Path:
    """Keep a picture that a model was shown; the same pixels are kept once. Raises DiskFull, PatchNotKept."""
    place = patch_path(folder, digest)
    if place.exists():
        return place
    draft = place.with_name(f"draft-{secrets.token_hex(8)}")
    with _disk_full():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_room(place.parent, reserve_bytes, len(png))
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(png)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)
    return place


def check_room(folder: Path, reserve_bytes: int, wanted_bytes: int = 0) -> None:
    """Raises DiskFull where `wanted_bytes` more would leave less than `reserve_bytes` free."""
    if shutil.disk_usage(_existing(folder)).free - wanted_bytes < reserve_bytes:
        raise DiskFull


class Draft:
    """An upload on its way in: write, then `keep` (or `discard`). For senders that come in pieces.

    Everything may raise DiskFull.
    """

    def __init__(self, folder: Path, *, max_bytes: int, reserve_bytes: int = 0) -> None:
        self._folder = folder
        self._room = max_bytes
        self._reserve = reserve_bytes
        self._digest = hashlib.sha256()
        self._path = folder / f"draft-{secrets.token_hex(8)}"
        with _disk_full():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            check_room(folder, reserve_bytes)
            self._file = os.fdopen(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")

    def write(self, chunk: bytes) -> None:
        self._room -= len(chunk)
        if self._room < 0:
            raise ImageTooLarge
        self._digest.update(chunk)
        check_room(self._folder, self._reserve, len(chunk))
        with _disk_full():
            self._file.write(chunk)

    def keep(self) -> str:
        with _disk_full():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            name = self._digest.hexdigest()
            place = _place(self._folder, name)
            place.parent.mkdir(exist_ok=True, mode=0o700)
            self._path.replace(place)
            # A new name is durable when its folder is.
            for folder in (place.parent, self._folder):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        return f"upload:sha256-{name}"

    def discard(self) -> None:
        """After `keep` this does nothing."""
        with suppress(OSError):  # what it could not write before, it cannot write now
            self._file.close()
        self._path.unlink(missing_ok=True)


@contextmanager
def _disk_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull from None
        raise


def _existing(folder: Path) -> Path:
    """`folder`, or what is above it and there."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


def _place(folder: Path, digest: str) -> Path:
    return folder / digest[:2] / digest
