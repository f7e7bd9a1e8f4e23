"""Uploads: bytes somebody sent, kept on disk under their own digest, for as long as they are wanted; and the
pictures that a model was shown.

In: a stream of bytes. Out: an `upload:sha256-...` reference, and the file it stands for; several digests in
one reference are the files of one DICOM series. File names are made from the digest alone, never from what
the sender called the image. It does not look inside, and it does not know who refers to what.

An upload's age counts from when it was last sent or asked about (its mtime). Whoever refers to it says so
first (`use`), and then commits; whoever removes asks who refers to what, and then looks at the age once more,
with the folder's lock held. So what was referred to is there (docs/decisions/0017).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from worker.errors import DiskFull, ImageMissing, ImageTooLarge, PatchNotKept, ReferenceForbidden

#: of one DICOM series
MOST_FILES = 100
SCHEME = "upload:"
#: below the folder of uploads; their own folders have names of two letters
PATCHES = "patches"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIXELS_DIGEST = re.compile(r"^sha256:([0-9a-f]{64})$")
_REFERENCE = re.compile(r"upload:sha256-[0-9a-f]{64}(?:,sha256-[0-9a-f]{64})*")


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
    """The file behind an `upload:` reference, of several the first. Raises as `paths_of`."""
    return paths_of(folder, reference)[0]


def paths_of(folder: Path, reference: str) -> tuple[Path, ...]:
    """The files behind an `upload:` reference. Raises ReferenceForbidden or ImageMissing."""
    paths = tuple(_place(folder, digest) for digest in digests_of(reference))
    if not all(path.is_file() for path in paths):
        raise ImageMissing
    return paths


def digests_of(reference: str) -> tuple[str, ...]:
    """In hexadecimal. Raises ReferenceForbidden."""
    found = _REFERENCE.fullmatch(reference)
    digests = tuple(_DIGEST.findall(reference)) if found else ()
    if not 0 < len(digests) <= MOST_FILES:
        raise ReferenceForbidden
    return digests


def joined(references: Sequence[str]) -> str:
    """One reference for the files of one series."""
    return SCHEME + ",".join(reference.removeprefix(SCHEME) for reference in references)


def use(folder: Path, references: Iterable[str]) -> None:
    """These are about to be referred to: they are as young as if they were sent now.

    What is not there, or is no upload, is passed over: whoever opens it will say so.
    """
    for reference in references:
        if not _REFERENCE.fullmatch(reference):
            continue
        for digest in _DIGEST.findall(reference):
            with suppress(OSError), _locked(folder, fcntl.LOCK_SH):
                os.utime(_place(folder, digest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    #: `upload:` references
    uploads: tuple[str, ...] = ()
    drafts: int = 0
    #: pictures that a model was shown
    patches: int = 0


def remove_old(
    folder: Path, *, before: float, drafts_before: float, in_use: Callable[[], Container[str]]
) -> Removed:
    """Remove patches and uploads last used `before`, in seconds since 1970; not those in use.

    `in_use` is asked once, if at all. Drafts that nobody writes any more are removed too.
    """
    old = [path for path in folder.glob("[0-9a-f][0-9a-f]/*") if _is_old(path, before)]
    old = [path for path in old if _DIGEST.fullmatch(path.name)]
    used = in_use() if old else ()
    removed = [path.name for path in old if path.name not in used and _remove(folder, path, before)]
    drafts = [path for path in folder.glob("draft-*") if _is_old(path, drafts_before)]
    patches = [path for path in folder.glob(f"{PATCHES}/*") if _is_old(path, before)]
    for path in (*drafts, *patches):
        path.unlink(missing_ok=True)
    references = tuple(f"upload:sha256-{digest}" for digest in removed)
    return Removed(uploads=references, drafts=len(drafts), patches=len(patches))


def _is_old(path: Path, before: float) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime < before
    return False


def _remove(folder: Path, path: Path, before: float) -> bool:
    with _locked(folder, fcntl.LOCK_EX):
        if not _is_old(path, before):  # somebody was faster, and sent it or asked about it
            return False
        path.unlink()
        return True


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """The folder's lock, shared (who keeps and uses) or alone (who removes), for a moment. On a file system
    without locks it is not waited for: only what grows old at that very moment could be lost there."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def patch_path(folder: Path, digest: str, width: int) -> Path:
    """Where the picture with these pixels is, or would be. `digest` is a PatchRecord's `pixels_digest`, which
    does not say how many of them make a row: `width` does.

    Raises PatchNotKept for what is no digest.
    """
    found = _PIXELS_DIGEST.match(digest)
    if found is None:
        raise PatchNotKept
    return folder / PATCHES / f"{found[1]}-{width}.png"


def use_patch(folder: Path, digest: str, width: int) -> bool:
    """Whether it is kept; then it is as young as if it had been kept now. Raises PatchNotKept."""
    try:
        os.utime(patch_path(folder, digest, width))
    except FileNotFoundError:
        return False
    return True


def keep_patch(folder: Path, digest: str, width: int, png: bytes, *, reserve_bytes: int = 0) -> Path:
    """Keep a picture that a model was shown; the same pixels are kept once. Raises DiskFull, PatchNotKept."""
    place = patch_path(folder, digest, width)
    if use_patch(folder, digest, width):
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
            with _locked(self._folder, fcntl.LOCK_SH):
                os.utime(self._path)  # the file may have waited since its last byte
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
