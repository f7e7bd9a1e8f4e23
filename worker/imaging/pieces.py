"""Pieces: a remote file, of which only what is needed comes here.

In: a way to get a stretch of bytes. Out: any stretch, from blocks that are kept for a while. Readers ask
for a few bytes at a time, and a request costs a connection. It does not know where the file lies.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from worker.errors import FetchFailed, ImageTooLarge

BLOCK = 1024 * 1024
#: this much of one file is in memory
BLOCKS_KEPT = 32
#: a reader that wants more at once wants the whole file
MOST_AT_ONCE = 64 * 1024 * 1024

#: offset, length -> exactly so many bytes
Get = Callable[[int, int], bytes]


class Blocks:
    """`worker.imaging.supply.Pieces`, for any number of threads."""

    def __init__(self, get: Get, size: int, *, max_bytes: int, block: int = BLOCK) -> None:
        """`max_bytes`: of everything that is fetched for this image."""
        self._get = get
        self._size = size
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._block = block
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = Lock()

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes at the end of the file, none behind it. Raises ImageTooLarge, and what `get` raises."""
        offset, end = max(offset, 0), min(max(offset, 0) + max(length, 0), self._size)
        if end <= offset:
            return b""
        if end - offset > MOST_AT_ONCE:
            raise ImageTooLarge(f"More than {MOST_AT_ONCE} bytes of it were asked for at once.")
        first, last = offset // self._block, (end - 1) // self._block
        with self._lock:
            blocks = self._blocks(first, last)
        start = first * self._block
        return b"".join(blocks)[offset - start : end - start]

    def _blocks(self, first: int, last: int) -> list[bytes]:
        """Blocks that follow each other and are not here come with one request."""
        found = {number: self._kept[number] for number in range(first, last + 1) if number in self._kept}
        number = first
        while number <= last:
            run = number
            while run <= last and run not in found:
                run += 1
            if run > number:
                found |= self._fetched(number, run)
            number = run + 1
        for number in sorted(found):
            self._kept[number] = found[number]
            self._kept.move_to_end(number)
        while len(self._kept) > BLOCKS_KEPT:
            self._kept.popitem(last=False)
        return [found[number] for number in range(first, last + 1)]

    def _fetched(self, first: int, beyond: int) -> dict[int, bytes]:
        start, end = first * self._block, min(beyond * self._block, self._size)
        self._left -= end - start
        if self._left < 0:
            raise ImageTooLarge(f"At most {self._max_bytes} bytes of one image are fetched.")
        data = self._get(start, end - start)
        if len(data) != end - start:
            raise FetchFailed("A piece of it came with another length.")
        return {
            number: data[at : at + self._block]
            for number, at in zip(range(first, beyond), range(0, len(data), self._block), strict=True)
        }
