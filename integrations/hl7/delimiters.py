"""Delimiters: the signs that a message declares, what they divide, and how its text escapes them.

In: MSH-1 and MSH-2; text. Out: parts of text; text without its escapes. It does not know segments. Escapes
are those of HL7 v2.5.1, 2.7: what is no escape, or one for a printer, stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from worker.errors import MessageUnreadable

#: MSH-2 has four signs, from v2.7 on five
_MOST_SIGNS: Final = 5


@dataclass(frozen=True, slots=True)
class Delimiters:
    """An empty sign divides nothing: a sender that has no subcomponents need not declare one for them."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""
    #: of the bytes that `\\X..\\` spells
    codec: str = "ascii"

    @classmethod
    def declared(cls, field: str, signs: str, *, codec: str = "ascii") -> Self:
        """By MSH-1 and MSH-2. An empty MSH-2 means the usual signs. Raises MessageUnreadable."""
        signs = signs or "^~\\&"
        every = field + signs
        if len(signs) > _MOST_SIGNS or len(set(every)) < len(every):
            raise MessageUnreadable("MSH-1 and MSH-2 do not hold up to six different signs.", where="MSH-2")
        if not all(_divides(sign) for sign in every):
            raise MessageUnreadable("MSH-1 or MSH-2 holds a sign that cannot divide fields.", where="MSH-2")
        component, repetition, escape, subcomponent, truncation = (
            signs[n : n + 1] for n in range(_MOST_SIGNS)
        )
        return cls(field, component, repetition, escape, subcomponent, truncation, codec)

    def repetitions(self, raw: str) -> list[str]:
        return raw.split(self.repetition) if self.repetition else [raw]

    def components(self, raw: str) -> list[str]:
        return raw.split(self.component) if self.component else [raw]

    def subcomponents(self, raw: str) -> list[str]:
        return raw.split(self.subcomponent) if self.subcomponent else [raw]

    def part(self, raw: str, component: int, subcomponent: int) -> str:
        """Unescaped text of one subcomponent of a repetition, both counted from 1; empty for none."""
        inside = _nth(self.components(raw), component)
        return self.unescaped(_nth(self.subcomponents(inside), subcomponent)) if inside else ""

    def unescaped(self, raw: str) -> str:
        if not self.escape or self.escape not in raw:
            return raw
        return _escapes(self.escape).sub(self._meaning, raw)

    def _meaning(self, found: re.Match[str]) -> str:
        if found["sign"]:
            return str(getattr(self, _SIGNS[found["sign"]]))
        if found["hex"]:
            try:
                return bytes.fromhex(found["hex"]).decode(self.codec)
            except UnicodeDecodeError:
                return found[0]
        return {"H": "", "N": "", ".br": "\n"}.get(found["other"], found[0])


STANDARD: Final = Delimiters()
#: MSH-1 and MSH-2 hold the signs themselves
LITERAL: Final = Delimiters("", "", "", "", "")

_SIGNS: Final = {
    "F": "field", "S": "component", "T": "subcomponent", "R": "repetition", "E": "escape", "P": "truncation",
}  # fmt: skip


def _nth(parts: list[str], number: int) -> str:
    return parts[number - 1] if 0 < number <= len(parts) else ""


def _divides(sign: str) -> bool:
    return sign.isascii() and sign.isprintable() and not sign.isalnum() and sign not in ' "'


@lru_cache(maxsize=64)
def _escapes(sign: str) -> re.Pattern[str]:
    """What is left as it is, is found all the same: its end must not be taken for the start of the next."""
    edge, inside = re.escape(sign), f"[^{re.escape(sign)}]"
    local = rf"Z{inside}{{0,60}}|C[0-9A-F]{{4}}|M[0-9A-F]{{4,6}}|\.[a-z]{{2}}{inside}{{0,6}}"
    return re.compile(
        rf"{edge}(?:(?P<sign>[FSTREP])|X(?P<hex>(?:[0-9A-Fa-f]{{2}})+)|(?P<other>[HN]|{local})){edge}"
    )
