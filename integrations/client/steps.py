"""Steps: what a call wants done, and what came of it. A call is a generator of them and knows no sockets.

`synchronous` and `asynchronous` each do the same three steps in their own way, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from integrations.client.values import ENDED

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Gives an Answer, or Lost."""

    method: str
    path: str
    #: a file is opened anew for each try, and read as it is sent
    body: bytes | Path | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Gives a Heard: the stream at `path`, line by line, until `ear` has heard enough."""

    path: str
    ear: Ear
    #: seconds without a line after which nothing is to be hoped for
    silence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Gives None."""

    seconds: float


Step: TypeAlias = Send | Listen | Pause
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    #: names in small letters
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """There was no answer, or not all of it. The request may have been carried out."""

    #: the name of httpx's error
    reason: str


class Heard(Enum):
    ENOUGH = auto()  #: the job has ended, or it is time to look
    CLOSED = auto()  #: the gateway ended the stream, as it does after a while: it can be taken up again
    NOTHING = auto()  #: refused, lost or silent: there is no listening here


class Ear:
    """Server-sent events of one job, a line at a time (WHATWG HTML, 9.2; `data` of one line, as here)."""

    def __init__(self, *, until: float, clock: Callable[[], float]) -> None:
        self._until = until
        self._clock = clock

    def hear(self, line: str) -> Heard | None:
        """None: go on listening."""
        if self._clock() >= self._until or self._tells_the_end(line):
            return Heard.ENOUGH
        return None

    def _tells_the_end(self, line: str) -> bool:
        name, _, value = line.partition(":")
        if name != "data":
            return False
        try:
            told = json.loads(value)
        except ValueError:
            return False
        return isinstance(told, dict) and told.get("status") in ENDED


#: read from a file and sent at once, in bytes
PIECE: Final = 256 * 1024
