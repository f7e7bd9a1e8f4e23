"""Writing: values become segments and messages; no text can end a field, a segment or a frame.

In: text, in tuples where a field has components. Out: segments with the usual delimiters. It knows no field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NewType

from integrations.hl7.delimiters import STANDARD

#: a component, or its subcomponents
Component = str | tuple[str, ...]
#: one text, or components
Value = str | tuple[Component, ...]
#: a list: repetitions
FieldValue = Value | list[Value]

WrittenSegment = NewType("WrittenSegment", str)

_SIGNS: Final = f"{STANDARD.component}{STANDARD.repetition}{STANDARD.escape}{STANDARD.subcomponent}"
_ESCAPES: Final = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
#: what readers somewhere take for the end of a line
_SPECIAL: Final = re.compile("\r\n|[|^&~\\\\\x00-\x1f\x7f\u2028\u2029]")
_LINE_ENDS: Final = frozenset({"\r\n", "\r", "\n", "\u2028", "\u2029"})
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")


def escaped(text: str) -> str:
    r"""Lines end with `\.br\`; other control characters become `\X..\`."""
    return _SPECIAL.sub(_escape, text)


def segment(name: str, fields: Mapping[int, FieldValue]) -> WrittenSegment:
    """`fields` by number; those left out are empty. MSH-1 and MSH-2 are written by themselves."""
    if not _NAME.fullmatch(name):
        raise ValueError("not the name of a segment")
    first = 3 if name == "MSH" else 1
    start = [name, _SIGNS] if name == "MSH" else [name]
    values = [_field(fields.get(number, "")) for number in range(first, max(fields, default=0) + 1)]
    return WrittenSegment(STANDARD.field.join([*start, *values]).rstrip(STANDARD.field))


def message(segments: Iterable[WrittenSegment]) -> str:
    return "".join(f"{one}\r" for one in segments)


def _escape(found: re.Match[str]) -> str:
    sign = found[0]
    if sign in _LINE_ENDS:
        return "\\.br\\"
    return _ESCAPES.get(sign) or f"\\X{ord(sign):02X}\\"


def _field(value: FieldValue) -> str:
    values = value if isinstance(value, list) else [value]
    return STANDARD.repetition.join(map(_value, values)).rstrip(STANDARD.repetition)


def _value(value: Value) -> str:
    parts = (value,) if isinstance(value, str) else value
    return STANDARD.component.join(map(_component, parts)).rstrip(STANDARD.component)


def _component(value: Component) -> str:
    parts = (value,) if isinstance(value, str) else value
    return STANDARD.subcomponent.join(map(escaped, parts)).rstrip(STANDARD.subcomponent)
