"""A rules file as plain values, each with its line.

In: YAML text. Out: mappings, lists and text, or problems. Every scalar is the text that is written: `No` is
an answer and `0123` an identifier, which YAML's own types would make a boolean and the number 83. It does
not know what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from unicodedata import category

import yaml

MOST_CHARACTERS: Final = 128 * 1024
DEEPEST: Final = 12

#: keys and positions from the top of the file
Place = tuple[str | int, ...]

_NO_VALUE: Final = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong, and where. Line 0: the file as a whole."""

    line: int
    place: Place
    reason: str


class Unreadable(Exception):
    """The text is not YAML of the kind that rules are written in."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__()


@dataclass(frozen=True, slots=True)
class Document:
    """`tree` holds dicts, lists, text, and None where a key has no value."""

    tree: Any
    lines: dict[Place, int]

    def line(self, place: Place) -> int:
        """Of the thing itself, or of the nearest thing around it."""
        return next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), 1)


def read_document(text: str) -> Document:
    """Raises Unreadable."""
    if len(text) > MOST_CHARACTERS:
        raise Unreadable([Problem(line=0, place=(), reason=f"is longer than {MOST_CHARACTERS} characters")])
    reader = _Reader(yaml.parse(text, Loader=yaml.SafeLoader))
    try:
        tree = reader.document()
    except _Refused as error:
        reader.complain(error.problem_mark, (), str(error.problem))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reader.complain(mark, (), f"is not YAML: {error.problem or error.context}")
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML lets ValueError through for escapes and version numbers out of range.
        reader.complain(None, (), "is not YAML: it holds a character that cannot be read")
    if reader.problems:
        raise Unreadable(reader.problems)
    return Document(tree, reader.lines)


class _Refused(yaml.MarkedYAMLError):
    """YAML, but not of our kind; nothing after it can be made sense of."""


@dataclass(slots=True)
class _Reader:
    """Events, not `yaml.load`: no tags, no anchors, and the line of every key."""

    events: Iterator[Any]
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def document(self) -> Any:
        next(self.events)  # the stream's start
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        tree = self._node(next(self.events), ())
        next(self.events)  # the document's end
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.complain(after.start_mark, (), "only one document is read: leave `---` out")
        return tree

    def complain(self, mark: Any, place: Place, reason: str) -> None:
        self.problems.append(Problem(line=mark.line + 1 if mark else 0, place=place, reason=reason))

    def _node(self, event: Any, place: Place) -> Any:
        self.lines.setdefault(place, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.complain(event.start_mark, place, "anchors and aliases are not read: write it out")
        if isinstance(event, yaml.AliasEvent):
            return None
        if event.tag is not None:
            self.complain(event.start_mark, place, "tags are not read")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if len(place) >= DEEPEST:
            raise _Refused(None, None, f"more than {DEEPEST} levels", event.start_mark)
        return self._list(place) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(place)

    def _scalar(self, event: Any, place: Place) -> str | None:
        if event.style is None and event.value in _NO_VALUE:
            return None
        value: str = event.value
        if any(category(sign) in ("Cc", "Cs") and sign not in "\t\n" for sign in value):
            self.complain(event.start_mark, place, "holds a control character")
        return value

    def _list(self, place: Place) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self._node(event, (*place, len(found))))
        return found

    def _mapping(self, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, place)
            inside = (*place, key)
            line = event.start_mark.line + 1
            if key in found:
                self.complain(event.start_mark, inside, f"is given twice, first in line {self.lines[inside]}")
            self.lines.setdefault(inside, line)
            value = self._node(next(self.events), inside)
            found.setdefault(key, value)
        return found

    def _key(self, event: Any, place: Place) -> str:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place) or ""
        raise _Refused(None, None, "a key must be a word", event.start_mark)
