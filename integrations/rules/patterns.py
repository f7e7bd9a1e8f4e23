"""What an agreeing final report says: regular expressions that cannot run away.

In: a pattern, later a report. Out: why the pattern is refused, or whether the report has it. A subset of
Python's syntax is read, in which every repeat has an end, so that the steps of a search can be bounded
before it runs. It does not know which question a pattern belongs to.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_CHARACTERS: Final = 200
#: steps from one starting point of the report, at most
MOST_STEPS: Final = 10_000
#: of a report, no more is searched
MOST_TEXT: Final = 100_000

_REPEAT: Final = re.compile(r"(?:\?|\{(\d{1,4})(?:,(\d{1,4}))?\})\??")
_ESCAPE: Final = re.compile(r"\\(?:[bBwWdDsS]|[^\w\s])")
_CLASS: Final = re.compile(r"\[\^?\]?(?:\\.|[^\]\\\[])*\]")
_DOUBLED: Final = ("--", "&&", "~~", "||")
_CAP: Final = 10**9


class _Cost(NamedTuple):
    """Of a part of a pattern: in how many ways it can match at one place, and the steps to try them all."""

    ways: int
    steps: int

    def then(self, other: _Cost) -> _Cost:
        return _Cost(min(self.ways * other.ways, _CAP), min(self.steps + self.ways * other.steps, _CAP))

    def either(self, other: _Cost) -> _Cost:
        return _Cost(min(self.ways + other.ways, _CAP), min(self.steps + other.steps, _CAP))

    def repeated(self, least: int, most: int) -> _Cost:
        tried, found = _Cost(1, 0), 1 if least == 0 else 0
        for count in range(1, most + 1):
            tried = tried.then(self)
            found += tried.ways if count >= least else 0
        return _Cost(min(found, _CAP), tried.steps)


_NOTHING: Final = _Cost(1, 0)
_ONE: Final = _Cost(1, 1)


class _Refused(Exception):
    pass


def refusal(pattern: str) -> str:
    """Why this pattern is not used; empty when it is."""
    if len(pattern) > MOST_CHARACTERS:
        return f"a pattern has at most {MOST_CHARACTERS} characters"
    try:
        cost = _Reader(pattern).whole()
        re.compile(pattern, re.IGNORECASE)
    except _Refused as error:
        return str(error)
    except (re.error, OverflowError):
        return "is not a regular expression"
    return "could take minutes on a long report: fewer or shorter repeats" if cost.steps > MOST_STEPS else ""


def says(pattern: str, report: str) -> bool:
    """Whether a report holds what the pattern looks for, in any case; the ends of lines count as spaces."""
    return re.search(pattern, " ".join(report[:MOST_TEXT].split()), re.IGNORECASE) is not None


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def whole(self) -> _Cost:
        cost = self._branches()
        if self._at < len(self._pattern):
            raise _Refused("has a `)` too many")
        return cost

    def _branches(self) -> _Cost:
        cost = self._branch()
        while self._next("|"):
            cost = cost.either(self._branch())
        return cost

    def _branch(self) -> _Cost:
        cost = _NOTHING
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            cost = cost.then(self._repeat(self._atom()))
        return cost

    def _atom(self) -> _Cost:
        if self._next("("):
            if not self._next("?:") and self._pattern.startswith("?", self._at):
                raise _Refused("groups are `( )` or `(?: )`: no look-ahead, no names, no flags")
            cost = self._branches()
            if not self._next(")"):
                raise _Refused("has a `)` too few")
            return cost
        sign = self._pattern[self._at]
        if sign in "*+?{":
            raise _Refused(f"`{sign}` repeats nothing; write `\\{sign}` for the sign itself")
        if sign == "\\":
            self._take(_ESCAPE, "escapes are \\b \\w \\d \\s, their capitals, and signs")
        elif sign == "[":
            signs = self._take(_CLASS, "`[ ]` is not closed, or holds a `[`")
            if any(doubled in signs for doubled in _DOUBLED):
                raise _Refused("`[ ]` holds a doubled sign: write it once")
        else:
            self._at += 1
        return _ONE

    def _repeat(self, cost: _Cost) -> _Cost:
        sign = self._pattern[self._at : self._at + 1]
        if not sign or sign not in "*+?{":
            return cost
        found = _REPEAT.match(self._pattern, self._at)
        if found is None:
            raise _Refused("every repeat needs an end: write {0,80} for `*` and {1,80} for `+`")
        self._at = found.end()
        if found[1] is None:
            return cost.repeated(0, 1)
        return cost.repeated(int(found[1]), int(found[2] or found[1]))

    def _next(self, sign: str) -> bool:
        here = self._pattern.startswith(sign, self._at)
        self._at += len(sign) if here else 0
        return here

    def _take(self, kind: re.Pattern[str], otherwise: str) -> str:
        found = kind.match(self._pattern, self._at)
        if found is None:
            raise _Refused(otherwise)
        self._at = found.end()
        return found[0]
