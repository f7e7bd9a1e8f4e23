"""Patience: a request that may be made again is made again, a few times and not at once.

In: what is asked, and a way to wait. Out: its answer; or FetchFailed, when the job itself had better wait. It
does not know what is asked, or of whom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from worker.errors import FetchFailed

#: seconds; without a `Retry-After`
FIRST_WAIT = 0.5
#: of one wait, in seconds: whoever wants longer is asked by the next attempt of the job
LONGEST_WAIT = 20.0
TRIES = 4

T = TypeVar("T")


class Again(Exception):
    """Nothing came of it this time."""

    def __init__(self, reason: str, *, after: str = "") -> None:
        #: for a caller: numbers and names of formats
        self.reason = reason
        #: a `Retry-After` header, as it came
        self.after = after
        super().__init__(reason)


@dataclass(slots=True, kw_only=True)
class Patience:
    """The tries of one request. What moves forward has all of them again."""

    sleep: Callable[[float], object]
    _used: int = 0

    def wait(self, failure: Again) -> None:
        """Before the next try. Raises FetchFailed where there is none."""
        self._used += 1
        seconds = _seconds(failure.after, FIRST_WAIT * 2 ** (self._used - 1))
        if self._used >= TRIES or seconds > LONGEST_WAIT:
            raise FetchFailed(failure.reason) from None
        self.sleep(seconds)

    def renew(self) -> None:
        self._used = 0


def patiently(ask: Callable[[], T], *, sleep: Callable[[float], object]) -> T:
    """What `ask` gives, however often it says Again. Raises FetchFailed."""
    patience = Patience(sleep=sleep)
    while True:
        try:
            return ask()
        except Again as failure:
            patience.wait(failure)


def _seconds(after: str, otherwise: float) -> float:
    """RFC 9110 section 10.2.3; a date is answered with our own pause."""
    return float(after) if after.isdecimal() and len(after) < 9 else otherwise
