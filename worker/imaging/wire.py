"""Wire: what the worker and the child that decodes for it say to each other.

In: values. Out: headers in JSON with raw bytes behind them, over a socket, and back. The child decodes what
nobody vouches for, so the worker believes nothing of its that was not checked here; no pickle, and no length
that is not known to be allowed before room is made for it. It knows neither files nor processes.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from worker.imaging.wanted import Wanted
from worker.jobs.reading import PatchRecord

#: of one header, in bytes
MOST_HEADER = 1 << 20
#: of one piece of a remote file, in bytes
MOST_PIECE = 64 << 20
MOST_FRAMES = 4096
MOST_PATCHES = 32

#: bytes of the header, bytes behind it
_PREFIX = struct.Struct("!IQ")
#: one receive; the kernel hands over no more at once
_CHUNK = 1 << 20

MOST_TEXT = 200

_Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]+$", max_length=64)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Order(_Said):
    """To the child: look at this. The bytes of `memory` come as a file descriptor."""

    kind: Literal["order"] = "order"
    supply: Literal["memory", "disk", "remote", "archived"]
    wanted: Wanted
    #: when the child ends itself, whatever became of the worker
    seconds: float
    paths: tuple[str, ...] = ()
    size: int = 0
    sop_instance_uid: str | None = None


class Given(_Said):
    """To the child: what it asked for, one after the other; or that it is not to be had."""

    kind: Literal["given"] = "given"
    sizes: tuple[int, ...] = ()
    failed: bool = False


class Ready(_Said):
    kind: Literal["ready"] = "ready"


class Piece(_Said):
    """From the child: a part of a remote file."""

    kind: Literal["piece"] = "piece"
    offset: Annotated[int, Field(ge=0)]
    length: Annotated[int, Field(ge=0, le=MOST_PIECE)]


class Instances(_Said):
    kind: Literal["instances"] = "instances"


class Frames(_Said):
    kind: Literal["frames"] = "frames"
    sop_instance_uid: _Uid
    numbers: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=MOST_FRAMES)]


class Syntax(_Said):
    kind: Literal["syntax"] = "syntax"
    sop_instance_uid: _Uid


class Shown(_Said):
    """From the child: the patches; their pixels lie behind the header, in the same order."""

    kind: Literal["shown"] = "shown"
    records: Annotated[tuple[PatchRecord, ...], Field(max_length=MOST_PATCHES)]
    #: whether the child ends now
    last: bool = False


class Refused(_Said):
    """From the child: one of our own refusals."""

    kind: Literal["refused"] = "refused"
    code: Annotated[str, StringConstraints(pattern=r"^[a-z_]+$", max_length=64)]
    detail: Annotated[str, StringConstraints(max_length=MOST_TEXT)] = ""
    last: bool = False


Asked = Piece | Instances | Frames | Syntax
Answer = Ready | Shown | Refused | Asked
Instruction = Order | Given

_ANSWERS: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])
_INSTRUCTIONS: TypeAdapter[Instruction] = TypeAdapter(Annotated[Instruction, Field(discriminator="kind")])


class Liar(ValueError):
    """What came does not keep to this protocol. It quotes nothing."""


def answer_in(header: bytes) -> Answer:
    """What a child says, checked. Raises Liar."""
    try:
        answer = _ANSWERS.validate_json(header)
    except ValueError:
        raise Liar from None
    if isinstance(answer, Shown) and not all(_is_plain(record) for record in answer.records):
        raise Liar
    if isinstance(answer, Refused) and not answer.detail.isprintable():
        raise Liar
    return answer


def instruction_in(header: bytes) -> Instruction:
    return _INSTRUCTIONS.validate_json(header)


def _is_plain(record: PatchRecord) -> bool:
    """Whether it can be kept and shown: short printable text, finite and sensible numbers."""
    texts = (record.source_digest, record.pixels_digest, record.format, record.part or "", *record.steps)
    texts = (*texts, record.mask_digest or "")
    numbers = (record.width, record.height, record.frame or 1, record.image, *(record.region or ()))
    shares = (record.spacing or 0.0, record.tissue_covered or 0.0)
    return (
        len(record.steps) <= 64
        and all(len(text) <= MOST_TEXT and text.isprintable() for text in texts)
        and all(0 <= number < 1 << 40 for number in (*numbers, *(record.slide_size or ())))
        and all(math.isfinite(share) and share >= 0 for share in shares)
    )


class Channel:
    """One end of the socket. Everything raises EOFError once the other end is gone, and TimeoutError after
    `deadline`."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        #: as `time.monotonic` counts; None waits for ever
        self.deadline: float | None = None

    def send(self, said: _Said, *parts: bytes, files: Sequence[int] = ()) -> None:
        header = said.model_dump_json().encode()
        start = _PREFIX.pack(len(header), sum(map(len, parts))) + header
        try:
            self._keep_time()
            sent = socket.send_fds(self._end, [start], files) if files else 0
            self._end.sendall(memoryview(start)[sent:])
            for part in parts:
                self._keep_time()
                self._end.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            raise EOFError from None

    def header(self) -> tuple[bytes, int]:
        """The next header, and how many bytes lie behind it, which `take` fetches. Raises Liar for one that
        is too long. File descriptors that come along are closed by the kernel."""
        return self._header(self.take(_PREFIX.size))

    def header_and_file(self) -> tuple[bytes, int | None]:
        """For the child: the next header, and the file that came with it."""
        start, files, _, _ = socket.recv_fds(self._end, _PREFIX.size, 1)
        header, _ = self._header(start + self.take(_PREFIX.size - len(start)))
        return header, next(iter(files), None)

    def _header(self, prefix: bytes) -> tuple[bytes, int]:
        length, behind = _PREFIX.unpack(prefix)
        if length > MOST_HEADER:
            raise Liar
        return self.take(length), behind

    def take(self, count: int) -> bytes:
        """Exactly so many bytes: the caller has made sure that as many are allowed."""
        taken = bytearray(count)
        view, place = memoryview(taken), 0
        try:
            while place < count:
                self._keep_time()
                got = self._end.recv_into(view[place : place + _CHUNK])
                if not got:
                    raise EOFError
                place += got
        except ConnectionResetError:
            raise EOFError from None
        return bytes(taken)

    def close(self) -> None:
        self._end.close()

    def _keep_time(self) -> None:
        if self.deadline is None:
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._end.settimeout(left)


def parts_of(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    """`body` cut into pieces of these sizes."""
    return [body[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
