"""Messages: bytes become segments, fields, repetitions, components and subcomponents.

In: the bytes of one HL7 v2 message. Out: a frozen `Message` that is asked by segment and field number, or
MessageUnreadable and its kin. It takes any version and any segment, and knows no meaning of either.
Delimiters are those that MSH-1 and MSH-2 declare; what is asked for and is not there is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from integrations.hl7.charset import decode
from integrations.hl7.delimiters import LITERAL, Delimiters
from worker.errors import MessageTooLarge, MessageUnreadable

MOST_SEGMENTS: Final = 20_000

#: a break inside a field is only a line end; what starts with a segment's name starts a segment
_ENDS: Final = "\r\n|\r|\n(?=[A-Z][A-Z0-9]{{2}}{0})"
#: a byte order mark of UTF-8, and empty lines
_BEFORE: Final = b"\xef\xbb\xbf\r\n \t"
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")


@dataclass(frozen=True, slots=True, repr=False)
class Component:
    """One component; `text` is all of it, unescaped, with its subcomponent separators as they stand."""

    raw: str
    delimiters: Delimiters

    @property
    def text(self) -> str:
        return self.delimiters.unescaped(self.raw)

    @property
    def subcomponents(self) -> tuple[str, ...]:
        return tuple(map(self.delimiters.unescaped, self.delimiters.subcomponents(self.raw)))

    def subcomponent(self, number: int) -> str:
        parts = self.delimiters.subcomponents(self.raw)
        return self.delimiters.unescaped(parts[number - 1]) if 0 < number <= len(parts) else ""


@dataclass(frozen=True, slots=True, repr=False)
class Repetition:
    """One value of a field."""

    raw: str
    delimiters: Delimiters

    @property
    def text(self) -> str:
        return self.delimiters.unescaped(self.raw)

    @property
    def components(self) -> tuple[Component, ...]:
        return tuple(Component(raw, self.delimiters) for raw in self.delimiters.components(self.raw))

    def component(self, number: int) -> Component:
        parts = self.delimiters.components(self.raw)
        return Component(parts[number - 1] if 0 < number <= len(parts) else "", self.delimiters)

    def get(self, component: int = 1, subcomponent: int = 1) -> str:
        return self.delimiters.part(self.raw, component, subcomponent)


@dataclass(frozen=True, slots=True, repr=False)
class Field:
    """One field: its repetitions are counted from 0, everything else from 1."""

    raw: str
    delimiters: Delimiters

    @property
    def repetitions(self) -> tuple[Repetition, ...]:
        return tuple(Repetition(raw, self.delimiters) for raw in self.delimiters.repetitions(self.raw))

    def repetition(self, index: int) -> Repetition:
        parts = self.delimiters.repetitions(self.raw)
        return Repetition(parts[index] if 0 <= index < len(parts) else "", self.delimiters)


@dataclass(frozen=True, slots=True, repr=False)
class Segment:
    """One segment; `fields[n]` is field n as it stands, `fields[0]` the name."""

    fields: tuple[str, ...]
    delimiters: Delimiters

    @property
    def name(self) -> str:
        return self.fields[0]

    def field(self, number: int) -> Field:
        raw = self.fields[number] if 0 < number < len(self.fields) else ""
        return Field(raw, LITERAL if self.name == "MSH" and number <= 2 else self.delimiters)

    def get(self, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """Unescaped text of a field's first repetition; empty when there is none."""
        return self.field(field).repetition(0).get(component, subcomponent)


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One message, segments in their order."""

    segments: tuple[Segment, ...]
    delimiters: Delimiters

    def __repr__(self) -> str:
        return f"Message({len(self.segments)} segments)"

    def all(self, name: str) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment:
        """The first segment of this name, or an empty one."""
        found = (segment for segment in self.segments if segment.name == name)
        return next(found, Segment((name,), self.delimiters))

    def get(self, name: str, field: int, component: int = 1, subcomponent: int = 1) -> str:
        return self.first(name).get(field, component, subcomponent)

    @property
    def kind(self) -> str:
        """MSH-9 as `OML^O21`; the trigger from MSH-9.3 where MSH-9.2 has none."""
        msh = self.first("MSH")
        return f"{msh.get(9)}^{msh.get(9, 2) or msh.get(9, 3).rpartition('_')[2]}"


def parse(raw: bytes, *, charset: str = "ASCII") -> Message:
    """One message of one frame. `charset` (HL7 table 0211) is the sender's, where MSH-18 names none.

    Raises MessageUnreadable, MessageTooLarge, CharactersInvalid, CharacterSetUnsupported.
    """
    if not raw.lstrip(_BEFORE).startswith(b"MSH"):
        raise MessageUnreadable("It does not start with MSH.", where="MSH")
    text, codec = decode(raw, default=charset)
    return parse_text(text, codec=codec)


def parse_text(text: str, *, codec: str = "utf-8") -> Message:
    """The same from text that is decoded already."""
    text = text.lstrip("\r\n \t")
    delimiters = delimiters_of(text, codec=codec)
    ends = re.compile(_ENDS.format(re.escape(delimiters.field)))
    lines = list(_lines(ends.split(text), delimiters))
    if len(lines) > MOST_SEGMENTS:
        raise MessageTooLarge(f"At most {MOST_SEGMENTS} segments.")
    segments = tuple(Segment(_fields(line, delimiters), delimiters) for line in lines)
    if sum(segment.name == "MSH" for segment in segments) > 1:
        raise MessageUnreadable("There is more than one MSH segment.")
    return Message(segments, delimiters)


def delimiters_of(text: str, *, codec: str = "ascii") -> Delimiters:
    """What MSH-1 and MSH-2 declare. Raises MessageUnreadable."""
    if not text.startswith("MSH"):
        raise MessageUnreadable("It does not start with MSH.", where="MSH")
    field = text[3:4]
    if not field or field in "\r\n":
        raise MessageUnreadable("It ends in MSH-1.", where="MSH-1")
    signs = re.split(rf"[{re.escape(field)}\r\n]", text[4:64], maxsplit=1)[0]
    return Delimiters.declared(field, signs, codec=codec)


def _lines(pieces: list[str], delimiters: Delimiters) -> Iterator[str]:
    """One segment each. A piece that starts with no segment name goes on with the text before it."""
    line: list[str] = []
    for piece in pieces:
        if not piece.strip("\n \t"):
            continue
        starts = _NAME.match(piece) and piece[3:4] in ("", delimiters.field)
        if starts and line:
            yield "\n".join(line).rstrip("\n")
            line = []
        line.append(piece)
    yield "\n".join(line).rstrip("\n")


def _fields(line: str, delimiters: Delimiters) -> tuple[str, ...]:
    name, *fields = line.split(delimiters.field)
    return (name, delimiters.field, *fields) if name == "MSH" else (name, *fields)
