"""Decoder: one child process that decodes, as the worker sees it.

In: the program, its limits, and images to look at. Out: patches, a refusal, or Lost when the child is of no
more use. It knows neither what they talk about (`dialogue`) nor the other children (`sandbox`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import worker
from worker.errors import DecoderUnavailable
from worker.imaging.dialogue import Dialogue
from worker.imaging.supply import Supply
from worker.imaging.wanted import Seen, Wanted
from worker.imaging.wire import Channel, Liar, Ready, answer_in

PROGRAM = (sys.executable, "-P", "-m", "worker.imaging.child")
START_SECONDS = 120.0
#: a child that was late is at fault where it had a processor for so much of its time
_AT_WORK = 0.1
#: what of the environment a child gets; the rest holds passwords
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ")
#: one thread each, and little address space that nobody uses: it counts against the limit
_SMALL = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class Lost(Exception):
    """The child is gone, or must go: its answer is late, or is none."""

    def __init__(self, *, late: bool = False, stood_still: bool = False, is_suspect: bool = False) -> None:
        self.late = late
        #: while it was late it did nothing: it was stopped, or the machine had no time for it
        self.stood_still = stood_still
        #: it had looked at other images before this one
        self.is_suspect = is_suspect
        super().__init__()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confines:
    """What one child is held to."""

    #: of its own work on one image
    seconds: float
    #: beyond what it starts with
    memory_bytes: int
    #: where it may read: the places of `OnDisk`
    folders: tuple[Path, ...] = ()


class Decoder:
    """Used by one thread at a time. The thread that makes it must outlive it: the child dies with that."""

    def __init__(self, confines: Confines, program: Sequence[str] = PROGRAM) -> None:
        """Raises OSError."""
        self._seconds = confines.seconds
        ours, theirs = socket.socketpair()
        limits = (str(theirs.fileno()), str(confines.memory_bytes), *map(str, confines.folders))
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                (*program, *limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # it might quote what it reads
                pass_fds=(theirs.fileno(),),
                env=_environment(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = Channel(ours)
        self._is_ready = False
        #: how many images it was given
        self.looks = 0
        #: whether it may be given another
        self.usable = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def look(self, supply: Supply, wanted: Wanted) -> tuple[Seen, ...]:
        """Raises an ImageRefused, what the supply raises, DecoderUnavailable or Lost."""
        self.usable = False  # until its answer is whole
        self._wait_until_ready()
        self.looks += 1
        began = self._busy_seconds()
        try:
            answer = Dialogue(self._channel, supply, wanted, seconds=self._seconds).hold()
        except TimeoutError:
            stood_still = self._busy_seconds() - began < self._seconds * _AT_WORK
            raise Lost(late=True, stood_still=stood_still) from None
        except (EOFError, OSError, Liar):
            raise Lost(is_suspect=self.looks > 1) from None
        self.usable = not answer.last
        return answer.seen()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """Whoever uses it hears of it at once."""
        self._process.kill()

    def end(self) -> int:
        """Its exit status; minus the signal's number where one ended it."""
        self.usable = False
        self._channel.close()
        self._process.kill()
        return self._process.wait()

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        self._channel.deadline = time.monotonic() + START_SECONDS
        try:
            header, _ = self._channel.header()
            self._is_ready = isinstance(answer_in(header), Ready)
        except (EOFError, OSError, Liar):
            raise DecoderUnavailable from None
        if not self._is_ready:
            raise DecoderUnavailable

    def _busy_seconds(self) -> float:
        """What it has spent of a processor's time (proc(5), stat); 0 where the system does not say."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _environment() -> dict[str, str]:
    given = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}  # noqa: TID251  # no settings
    return given | _SMALL | {"PYTHONPATH": str(Path(worker.__file__).parents[1])}
