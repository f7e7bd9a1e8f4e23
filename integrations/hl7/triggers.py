"""Triggers: which message means which verb.

In: a line such as `ORU^R01 where OBX-3.1=SCAN and OBX-5=done,complete`. Out: a trigger that a unit of a
message meets or does not meet. Conditions on one kind of segment are met by one and the same segment; case
does not count. It does not know what a verb leads to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from integrations.hl7.message import Segment
from integrations.hl7.paths import Path, read_path
from integrations.hl7.units import Unit
from worker.jobs.order import Verb

_KIND: Final = re.compile(r"[A-Z*][A-Z0-9*]*\^[A-Z*][A-Z0-9*]*")
_WHERE: Final = re.compile(r"\s+where\s+", re.IGNORECASE)
_AND: Final = re.compile(r"\s+and\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    path: Path
    #: casefolded; one of them stands there
    values: frozenset[str]

    def is_met(self, segment: Segment) -> bool:
        return any(value.casefold() in self.values for value in self.path.values(segment))


@dataclass(frozen=True, slots=True)
class Trigger:
    #: `OML^O21`, or a pattern: `ADT^*`
    kind: str
    conditions: tuple[Condition, ...]
    #: None: it is to be left alone
    verb: Verb | None

    def is_met(self, kind: str, unit: Unit) -> bool:
        if not fnmatchcase(kind, self.kind):
            return False
        names = {condition.path.segment for condition in self.conditions}
        return all(any(self._fits(segment) for segment in unit.all(name)) for name in names)

    def _fits(self, segment: Segment) -> bool:
        wanted = (one for one in self.conditions if one.path.segment == segment.name)
        return all(condition.is_met(segment) for condition in wanted)


@lru_cache(maxsize=256)
def read_trigger(line: str, verb: Verb | None) -> Trigger:
    """Raises ValueError."""
    kind, *rest = _WHERE.split(line.strip(), maxsplit=1)
    if not _KIND.fullmatch(kind):
        raise ValueError(f"{line!r} does not start with a kind of message, as OML^O21")
    conditions = tuple(_condition(part) for part in _AND.split(rest[0])) if rest else ()
    return Trigger(kind, conditions, verb)


def condition(path: str, values: Sequence[str]) -> Condition:
    """Raises ValueError."""
    wanted = frozenset(value.strip().casefold() for value in values) - {""}
    if not wanted:
        raise ValueError(f"nothing is said to stand in {path}")
    return Condition(read_path(path), wanted)


def _condition(part: str) -> Condition:
    path, sign, values = part.partition("=")
    if not sign:
        raise ValueError(f"{part!r} is no condition: write PATH=VALUE,VALUE")
    return condition(path, values.split(","))
