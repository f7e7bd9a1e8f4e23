"""The program that decodes, for one worker: `python -m worker.imaging.child SOCKET MEMORY FOLDER...`

In: a socket's file descriptor, how many bytes of memory it may take beyond what it starts with, and where it
may read; then orders, one after the other (`worker.imaging.wire`). Out: patches or refusals. It gives up
everything but decoding before it takes the first order (`confined`); what lies elsewhere it asks the worker
for. It ends with the worker, however that ends.
"""

from __future__ import annotations

import ctypes
import gc
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from worker.errors import (
    FetchFailed,
    ImageRefused,
    ImageTooLarge,
    ImageUnreadable,
    PathlaneError,
    TransientError,
)
from worker.imaging.confined import address_space, confine, follow_parent
from worker.imaging.files import held
from worker.imaging.supply import Archived, InMemory, OnDisk, Remote, Supply
from worker.imaging.wanted import Seen, Wanted
from worker.imaging.wire import (
    MOST_PIECE,
    MOST_TEXT,
    Asked,
    Channel,
    Frames,
    Given,
    Instances,
    Order,
    Piece,
    Ready,
    Refused,
    Shown,
    Syntax,
    instruction_in,
    parts_of,
)

#: imported before the first order: the first image does not wait for it
_PRELOADED = ("worker.imaging.looking", "worker.imaging.dicom_slide")
#: the worker ends a child that is late; this is for when there is no worker any more
_LATER = 5.0

_INSTANCES: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(list[dict[str, Any]])


def main() -> int:
    follow_parent()
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    for module in _PRELOADED:
        import_module(module)
    memory = int(sys.argv[2])
    folders = tuple(map(Path, sys.argv[3:]))
    before = confine(memory_bytes=memory, folders=folders)
    gc.freeze()
    try:
        channel.send(Ready())
        while not _serve(channel, folders, most=before + memory // 4):
            pass
    except EOFError:
        pass  # the worker is gone, or wants this child no more
    return 0


def _serve(channel: Channel, folders: Sequence[Path], *, most: int) -> bool:
    """One order. True: this child has grown and ends."""
    order, data = _order(channel)
    clock = _Clock(order.seconds + _LATER)
    answer: Refused | Shown
    try:
        with _supply(order, data, folders, _Worker(channel, clock)) as supply:
            seen = _look(supply, order.wanted)
    except PathlaneError as error:
        grown = _has_grown(most + len(data))
        seen, answer = (), Refused(code=error.code, detail=_plain(error.detail), last=grown)
    else:
        grown = _has_grown(most + len(data) + sum(len(one.rgb) for one in seen))
        answer = Shown(records=tuple(one.record for one in seen), last=grown)
    clock.stop()
    channel.send(answer, *(one.rgb for one in seen))
    return answer.last


def _order(channel: Channel) -> tuple[Order, bytes]:
    header, descriptor = channel.header_and_file()
    order = instruction_in(header)
    if not isinstance(order, Order):
        raise EOFError  # noqa: TRY004
    if descriptor is None:
        return order, b""
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  # it has no name
        return order, file.readall()


def _look(supply: Supply, wanted: Wanted) -> tuple[Seen, ...]:
    from worker.imaging.looking import look  # noqa: PLC0415  # heavy; `main` has imported it

    try:
        return look(supply, wanted)
    except PathlaneError as error:
        if isinstance(error, ImageRefused | TransientError):
            raise
        raise ImageUnreadable from None
    except MemoryError:
        raise ImageTooLarge("It does not fit into the memory there is for decoding.") from None
    except Exception:  # noqa: BLE001 - nothing that a file brought about ends this program
        raise ImageUnreadable from None


@contextmanager
def _supply(order: Order, data: bytes, folders: Sequence[Path], worker: _Worker) -> Iterator[Supply]:
    if order.supply == "memory":
        yield InMemory(data=data)
    elif order.supply == "disk":
        with held(OnDisk(paths=tuple(map(Path, order.paths))), folders) as files:
            yield files
    elif order.supply == "remote":
        yield Remote(file=_RemoteFile(worker=worker, size=order.size))
    else:
        yield Archived(series=_RemoteSeries(worker=worker), sop_instance_uid=order.sop_instance_uid)


def _plain(text: str) -> str:
    return text[:MOST_TEXT] if text.isprintable() else ""


def _has_grown(most: int) -> bool:
    """Whether more is kept than a good image leaves behind, once everything was given back that can be."""
    if address_space() <= most:
        return False
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return address_space() > most


class _Clock:
    """Ends the process (SIGALRM) after so many seconds of its own work."""

    def __init__(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def stop(self) -> float:
        """What was left."""
        return signal.setitimer(signal.ITIMER_REAL, 0)[0]

    def go_on(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))


@dataclass(frozen=True, slots=True, kw_only=True)
class _RemoteFile:
    worker: _Worker
    size: int

    def read(self, offset: int, length: int) -> bytes:
        wanted = range(offset, min(offset + length, self.size), MOST_PIECE)
        end = wanted.stop
        return b"".join(
            self.worker.ask(Piece(offset=place, length=min(MOST_PIECE, end - place)))[0] for place in wanted
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _RemoteSeries:
    worker: _Worker

    def instances(self) -> Sequence[dict[str, Any]]:
        return _INSTANCES.validate_json(self.worker.ask(Instances())[0])

    def frames(self, sop_instance_uid: str, numbers: Sequence[int]) -> Sequence[bytes]:
        return self.worker.ask(Frames(sop_instance_uid=sop_instance_uid, numbers=tuple(numbers)))

    def transfer_syntax(self, sop_instance_uid: str) -> str:
        return self.worker.ask(Syntax(sop_instance_uid=sop_instance_uid))[0].decode()


@dataclass(frozen=True, slots=True)
class _Worker:
    """The other side, which has what lies elsewhere. Readers may ask from several threads."""

    channel: Channel
    clock: _Clock
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, what: Asked) -> list[bytes]:
        """Raises FetchFailed; the worker knows better why, and says so itself."""
        with self.lock:
            left = self.clock.stop()
            try:
                self.channel.send(what)
                header, behind = self.channel.header()
                given = instruction_in(header)
                if not isinstance(given, Given) or given.failed:
                    raise FetchFailed
                return parts_of(self.channel.take(behind), given.sizes)
            except EOFError:
                raise SystemExit from None
            finally:
                self.clock.go_on(left)


if __name__ == "__main__":
    sys.exit(main())
