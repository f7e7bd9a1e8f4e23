"""Dialogue: one order to a child, from its beginning to the answer, on the worker's side.

In: a channel to the child, a supply, and what is wanted of it. Out: the child's answer, checked. What the
child asks for on the way comes from the supply, whose time is not the child's. It knows no processes.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from worker.errors import FetchFailed, ImageRefused, ImageUnreadable, PathlaneError, TransientError
from worker.imaging.digests import of_bytes
from worker.imaging.supply import Archived, InMemory, OnDisk, Remote, Supply
from worker.imaging.wanted import Seen, Wanted
from worker.imaging.wire import (
    Asked,
    Channel,
    Frames,
    Given,
    Instances,
    Liar,
    Order,
    Piece,
    Refused,
    Shown,
    Syntax,
    answer_in,
)
from worker.jobs.reading import PatchRecord

#: one look may take so many times its seconds, with all that is fetched for it
WITH_FETCHING = 20
MOST_QUESTIONS = 100_000
_SAMPLES = 3
#: what a reader finds out, and nobody else
_TRANSIENT = ("slide_incomplete",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What came of it: patches, or the error that there are none."""

    patches: tuple[Seen, ...] = ()
    error: Exception | None = None
    #: whether the child ends now
    last: bool = False

    def seen(self) -> tuple[Seen, ...]:
        if self.error is not None:
            raise self.error
        return self.patches


class Dialogue:
    def __init__(self, channel: Channel, supply: Supply, wanted: Wanted, *, seconds: float) -> None:
        """`seconds`: of the child's own time."""
        self._channel = channel
        self._supply = supply
        self._wanted = wanted
        self._seconds = seconds
        #: what the supply raised; it ends the look, whatever the child makes of it
        self._failure: Exception | None = None

    def hold(self) -> Looked:
        """Raises Liar, EOFError or OSError when the child is of no more use, TimeoutError when it is late,
        and FetchFailed when all that it wants takes too long."""
        left, end = self._seconds, time.monotonic() + WITH_FETCHING * self._seconds
        self._channel.deadline = time.monotonic() + self._seconds
        self._send_order()
        source = of_bytes(self._supply.data) if isinstance(self._supply, InMemory) else None
        for _ in range(MOST_QUESTIONS):
            began = time.monotonic()
            self._channel.deadline = began + left
            header, behind = self._channel.header()
            said = answer_in(header)
            if isinstance(said, Shown):
                return self._looked(Looked(patches=self._patches(said, behind, source), last=said.last))
            if behind or not isinstance(said, Refused | Asked):
                raise Liar
            if isinstance(said, Refused):
                return self._looked(Looked(error=refusal(said), last=said.last))
            left -= time.monotonic() - began
            self._give(said)
            if time.monotonic() > end:
                raise FetchFailed
        raise Liar

    def _looked(self, looked: Looked) -> Looked:
        return looked if self._failure is None else Looked(error=self._failure, last=looked.last)

    def _send_order(self) -> None:
        supply, wanted, seconds = self._supply, self._wanted, self._seconds
        if isinstance(supply, InMemory):
            with _file_of(supply.data) as file:
                order = Order(supply="memory", wanted=wanted, seconds=seconds)
                self._channel.send(order, files=(file.fileno(),))
            return
        if isinstance(supply, OnDisk):
            paths = tuple(map(os.fspath, supply.paths))
            order = Order(supply="disk", wanted=wanted, seconds=seconds, paths=paths)
        elif isinstance(supply, Remote):
            order = Order(supply="remote", wanted=wanted, seconds=seconds, size=supply.file.size)
        else:
            uid = supply.sop_instance_uid
            order = Order(supply="archived", wanted=wanted, seconds=seconds, sop_instance_uid=uid)
        self._channel.send(order)

    def _give(self, asked: Asked) -> None:
        parts: Sequence[bytes] = ()
        if self._failure is None:
            try:
                parts = taken(self._supply, asked)
            except Liar:
                raise
            except Exception as error:  # noqa: BLE001  # it is raised once the child has answered
                self._failure = error
        given = Given(sizes=tuple(map(len, parts)), failed=self._failure is not None)
        self._channel.deadline = time.monotonic() + self._seconds
        self._channel.send(given, *parts)

    def _patches(self, shown: Shown, behind: int, source: str | None) -> tuple[Seen, ...]:
        """The pixels, of which this side makes the digests: they are of what the model sees."""
        sizes = [record.width * record.height for record in shown.records]
        wanted = self._wanted
        most = wanted.limits.max_pixels
        largest = max(most, wanted.window**2, wanted.overview**2)
        chosen = wanted.windows * wanted.window**2 + wanted.overview**2
        if not sizes or max(sizes) > largest or min(sizes) < 1 or sum(sizes) > most + chosen:
            raise Liar
        if behind != sum(sizes) * _SAMPLES or any(r.image != wanted.number for r in shown.records):
            raise Liar
        return tuple(
            self._seen(record, source, self._channel.take(size * _SAMPLES))
            for record, size in zip(shown.records, sizes, strict=True)
        )

    @staticmethod
    def _seen(record: PatchRecord, source: str | None, rgb: bytes) -> Seen:
        source = record.source_digest if source is None else source
        return Seen(rgb=rgb, record=replace(record, source_digest=source, pixels_digest=of_bytes(rgb)))


def taken(supply: Supply, asked: Asked) -> Sequence[bytes]:
    """What the child asks for. Raises what the supply raises, or Liar for what it has no business to ask."""
    if isinstance(supply, Remote) and isinstance(asked, Piece):
        if asked.offset + asked.length > supply.file.size:
            raise Liar
        return (supply.file.read(asked.offset, asked.length),)
    if isinstance(supply, Archived) and isinstance(asked, Instances):
        return (json.dumps(list(supply.series.instances())).encode(),)
    if isinstance(supply, Archived) and isinstance(asked, Frames):
        return supply.series.frames(asked.sop_instance_uid, asked.numbers)
    if isinstance(supply, Archived) and isinstance(asked, Syntax):
        return (supply.series.transfer_syntax(asked.sop_instance_uid).encode(),)
    raise Liar


def refusal(said: Refused) -> PathlaneError:
    """A child can refuse an image, or miss parts of it. Whatever else is transient this side knows itself."""
    return _refusals().get(said.code, ImageUnreadable)(said.detail)


def _refusals() -> dict[str, type[PathlaneError]]:
    kinds: list[type[PathlaneError]] = [ImageRefused]
    for kind in kinds:
        kinds += kind.__subclasses__()
    kinds += [kind for kind in TransientError.__subclasses__() if kind.code in _TRANSIENT]
    return {kind.code: kind for kind in kinds}


@contextmanager
def _file_of(data: bytes) -> Iterator[BinaryIO]:
    """A file without a name: in memory where the system has that (memfd_create(2))."""
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("image"), "w+b", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    with file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        file.seek(0)
        yield file
