"""The supervisor: starts child programs, starts again what dies, and leaves nothing running.

In: command lines. Out: an exit status. A child that dies comes back after a growing pause; one that says
EX_CONFIG (78, sysexits.h) cannot be helped by starting it again, so everything is stopped. It does not
know what its children do.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from worker import log

#: a setting must change before another start makes sense
EX_CONFIG = 78
WATCH_SECONDS = 0.1
#: how long a child may take to end once it was asked a second time
AT_ONCE_SECONDS = 20.0

_PR_SET_PDEATHSIG = 1

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Before a restart, in seconds: twice as long after each death, up to the longest."""

    first: float
    longest: float
    #: after so long a life a death is the first one again
    steady: float

    def after(self, deaths: int) -> float:
        return float(min(self.first * 2 ** (deaths - 1), self.longest))


ORDINARY = Pauses(first=0.5, longest=30, steady=60)
#: by exit status (sysexits.h)
PAUSES = {
    70: Pauses(first=0.5, longest=300, steady=1800),  # its engine hung or crashed, long after the start
    69: Pauses(first=60, longest=900, steady=3600),  # its device keeps failing: a person must look
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    #: how long it may take to end after SIGTERM before it is killed, in seconds
    grace: float = 30.0
    #: those of a higher stage are ended before the others; those of one stage together
    stage: int = 0
    #: where its output goes; None leaves it on the terminal
    output: Path | None = None


@dataclass(slots=True, kw_only=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    #: when to start it again; None while it runs
    again_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    clock: Callable[[], float] = time.monotonic
    #: the exit status of a child that gave up for good
    given_up: int | None = None
    _children: list[_Child] = field(default_factory=list)

    def start(self, program: Program) -> None:
        self._children.append(_Child(program=program, process=_spawn(program), started=self.clock()))

    @property
    def count(self) -> int:
        return len(self._children)

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keep the children alive until `until()`, or until one of them gives up for good."""
        while not until() and self.given_up is None:
            for child in self._children:
                self._look_at(child)
            time.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """Ask the children to end, the highest stage first; kill those that do not.

        A KeyboardInterrupt meanwhile: all are asked at once, those that were asked before a second time.
        """
        try:
            for stage in sorted({child.program.stage for child in self._children}, reverse=True):
                children = [child for child in self._children if child.program.stage == stage]
                _end([child.process for child in children], max(child.program.grace for child in children))
        except KeyboardInterrupt:
            _end([child.process for child in self._children], AT_ONCE_SECONDS)
        self._children.clear()

    def _look_at(self, child: _Child) -> None:
        if child.again_at is not None:
            if self.clock() >= child.again_at:
                child.process, child.started, child.again_at = _spawn(child.program), self.clock(), None
            return
        status = child.process.poll()
        if status is None:
            return
        if status == EX_CONFIG:
            self.given_up = status
            return
        pauses = PAUSES.get(status, ORDINARY)
        steady = self.clock() - child.started >= pauses.steady
        child.deaths = 1 if steady else child.deaths + 1
        pause = pauses.after(child.deaths)
        child.again_at = self.clock() + pause
        say = logger.error if status in PAUSES else logger.warning
        say("child.died", child=child.program.name, exit_status=status, wait=pause)


def python(*arguments: str) -> list[str]:
    """A command line that runs a module of ours in the same environment."""
    return [sys.executable, "-m", *arguments]


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    with ExitStack() as opened:
        output = opened.enter_context(program.output.open("ab")) if program.output else None
        # A session of its own: Ctrl-C reaches the supervisor alone, which ends the children in order.
        return subprocess.Popen(  # noqa: S603  # our own command lines
            program.command,
            env=dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  # no threads
        )


def _end_with_parent() -> None:
    """In the child: SIGTERM when the parent dies, however it dies (prctl(2), Linux only)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(processes: Sequence[subprocess.Popen[bytes]], grace: float) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    end = time.monotonic() + grace
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
