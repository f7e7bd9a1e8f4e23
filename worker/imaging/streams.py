"""Files as the libraries like to read them: seekable streams.

In: a path, `Pieces`, or a supply of files. Out: a stream; one over pieces reads a block at a time. It does
not know where the pieces come from, and lets their refusals pass.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from worker.errors import FetchFailed, ImageMissing
from worker.imaging.supply import InMemory, OnDisk, Pieces, Remote

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined] # Python 3.12

#: a header, or some tiles: one request each
BLOCK = 256 * 1024


class _Raw(io.RawIOBase):
    def __init__(self, file: Pieces) -> None:
        self._file = file
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._file.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Buffer) -> int:
        into = memoryview(buffer)
        length = min(len(into), max(0, self._file.size - self._place))
        data = self._file.read(self._place, length) if length else b""
        into[: len(data)] = data
        self._place += len(data)
        return len(data)


def opened(path: Path) -> BinaryIO:
    """Raises ImageMissing, or FetchFailed, which is worth another try."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise ImageMissing from None
    except OSError:
        raise FetchFailed from None


def stream_of(file: Pieces) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Raw(file), BLOCK))


def stream_in(supply: InMemory | OnDisk | Remote) -> BinaryIO:
    """Of files on disk, the first. Raises as `opened`, or what the pieces raise."""
    if isinstance(supply, InMemory):
        return io.BytesIO(supply.data)
    return opened(supply.paths[0]) if isinstance(supply, OnDisk) else stream_of(supply.file)
