"""Paths: where in a message something stands, written as people write it: `ORC-38.1`, `SPM-2.2.1`.

In: a path, a segment. Out: the text or the code that stands there. A path is SEGMENT-FIELD, with .COMPONENT
and .SUBCOMPONENT where they are needed; what is left out is the first. It does not know what a value means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from integrations.hl7.message import Repetition, Segment
from worker.jobs.order import Code

_PATH: Final = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9]\d?)(?:\.([1-9]\d?)(?:\.([1-9]\d?))?)?")
#: v2.5.1, 2.5.3: delete what you have. An order cannot say that, and nothing is called so
NULL: Final = '""'
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Path:
    segment: str
    field: int
    #: 0: not said
    component: int = 0
    subcomponent: int = 0

    def values(self, segment: Segment) -> Iterator[str]:
        """Of every repetition, the empty ones too; control characters are kept for whoever refuses them."""
        for repetition in segment.field(self.field).repetitions:
            value = repetition.get(self.component or 1, self.subcomponent or 1).strip()
            yield "" if value == NULL else value

    def code(self, segment: Segment) -> Code:
        """A coded element: a whole field, or one component whose subcomponents are its parts."""
        repetition = segment.field(self.field).repetition(0)
        if self.component:
            return code_of(repetition.component(self.component).subcomponents)
        return code_of(first_parts(repetition))


@lru_cache(maxsize=1024)
def read_path(text: str) -> Path:
    """Raises ValueError."""
    found = _PATH.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no path: write SEGMENT-FIELD.COMPONENT.SUBCOMPONENT, as in SPM-2.2.1")
    name, *numbers = found.groups()
    return Path(name, *(int(number) for number in numbers if number))


def plain(text: str) -> str:
    """Without what is no text; the null value is empty."""
    return "" if text == NULL else _CONTROL.sub(" ", text)


def first_parts(repetition: Repetition) -> tuple[str, ...]:
    return tuple(component.subcomponent(1) for component in repetition.components)


def code_of(parts: tuple[str, ...]) -> Code:
    """CWE: identifier, text, system; the alternate ones where those are empty; original text for no text."""
    code, text, system, *others = (plain(part).strip() for part in (*parts, *[""] * 9))
    if not (code or text):
        code, text, system = others[:3]
    return Code(code=code, text=text or others[5], system=system)
