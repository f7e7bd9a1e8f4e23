"""Files: a `file:` reference becomes files on this machine's disk, below a folder the operator allows.

In: a reference and the allowed folders. Out: one regular file, or the DICOM files of a folder; or a
refusal. It never says in which folder something lies or is missing, and it reads no more of a file than its
mark.

A file is opened again by whoever reads it, in the child that decodes. Between the two somebody may have put a
link in its place, so whoever reads has it `held`: opened once more, from the allowed folder downwards and
without following any link, and known from then on by its descriptor alone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from worker.errors import FetchFailed, ImageMissing, ImageTooLarge, ReferenceForbidden
from worker.imaging.kinds import PREAMBLE
from worker.imaging.supply import OnDisk
from worker.uploads import MOST_FILES

#: names in one folder that are looked at
MOST_NAMES = 1000
#: scanner formats whose other files are found by the name of this one; OpenSlide opens them by name
_COMPANIONS = (".mrxs",)
_NO_LINK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
#: a FIFO would otherwise keep whoever opens it waiting for a writer
_NO_WAIT = os.O_NONBLOCK | os.O_NOCTTY


def file_supply(reference: str, roots: Sequence[Path], *, max_bytes: int) -> OnDisk:
    """One file, or of a folder the DICOM files in it (not those in its folders).

    `max_bytes`: of all of them. Raises ReferenceForbidden, ImageMissing, ImageTooLarge or FetchFailed.
    """
    path, root = _below_a_root(path_in(reference), roots)
    with _errors(), _descriptor(_open_below(root, path)) as descriptor:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            check_bytes(status.st_size, max_bytes)
            return OnDisk(paths=(path,))
        if not stat.S_ISDIR(status.st_mode):
            raise ReferenceForbidden
        found = _dicom_files(descriptor)
        check_bytes(sum(found.values()), max_bytes)
        return OnDisk(paths=tuple(path / name for name in sorted(found)))


@contextmanager
def held(supply: OnDisk, roots: Sequence[Path]) -> Iterator[OnDisk]:
    """The same files for as long as the block lasts, whatever their names stand for meanwhile.

    The paths in it are of this process's own descriptors. Raises as `file_supply`.
    """
    with ExitStack() as stack:
        paths = []
        for path in supply.paths:
            if path.suffix.lower() in _COMPANIONS:
                paths.append(path)
                continue
            _, root = _below_a_root(path, roots)
            with _errors():
                descriptor = stack.enter_context(_descriptor(_open_below(root, path)))
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ReferenceForbidden
            paths.append(Path(f"/proc/{os.getpid()}/fd/{descriptor}"))
        yield replace(supply, paths=tuple(paths))


def check_bytes(size: int, max_bytes: int) -> None:
    """Raises ImageTooLarge."""
    if size > max_bytes:
        raise ImageTooLarge(f"{size} bytes; at most {max_bytes} are opened.")


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


def _below_a_root(path: Path, roots: Sequence[Path]) -> tuple[Path, Path]:
    """Both without links. Raises ReferenceForbidden."""
    try:
        path = path.resolve()
        return path, next(root for root in (root.resolve() for root in roots) if path.is_relative_to(root))
    except (StopIteration, RuntimeError, OSError):  # RuntimeError: links that lead in a circle
        raise ReferenceForbidden from None


def _open_below(root: Path, path: Path) -> int:
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
        return os.open(parts[-1], _NO_LINK | _NO_WAIT, dir_fd=here)
    finally:
        os.close(here)


@contextmanager
def _descriptor(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _dicom_files(folder: int) -> dict[str, int]:
    """Name -> size, of the regular files with the mark of PS3.10. Links are left out."""
    found: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for looked_at, entry in enumerate(entries):
            if looked_at >= MOST_NAMES:
                raise ImageTooLarge(f"More than {MOST_NAMES} files in one folder.")
            if not entry.is_file(follow_symlinks=False):
                continue
            with _descriptor(os.open(entry.name, _NO_LINK | _NO_WAIT, dir_fd=folder)) as file:
                if stat.S_ISREG(os.fstat(file).st_mode) and os.pread(file, 4, PREAMBLE) == b"DICM":
                    found[entry.name] = os.fstat(file).st_size
    if not found:
        raise ImageMissing
    if len(found) > MOST_FILES:
        raise ImageTooLarge(f"More than {MOST_FILES} DICOM files.")
    return found


@contextmanager
def _errors() -> Iterator[None]:
    """Nothing that the system says about a path goes further than this."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise ImageMissing from None
    except PermissionError:
        raise ReferenceForbidden from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ReferenceForbidden from None
        raise FetchFailed from None
