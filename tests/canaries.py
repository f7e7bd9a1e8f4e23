"""Canaries: made-up words that stand where a case's text does, and a search that finds them again.

In: bytes of anything. Out: which canaries are in them, as they are or in an encoding that a program uses without
thinking of it: other case, base64 at any offset, hexadecimal, percent signs, JSON's escapes, UTF-16.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

#: what all words begin with; letters alone, so that they fit everywhere
ROOT = "Qzkanari"
#: of the one way on which a request travels through the broker
BY_CELERY = "Qycelerino"


@dataclass(frozen=True)
class Canary:
    place: str
    root: str = ROOT

    def __str__(self) -> str:
        return self.root + self.place


def found_in(data: bytes | str, words: Iterable[object] = (ROOT, BY_CELERY)) -> set[str]:
    """The words that are in it."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    lower = raw.lower()
    return {str(word) for word in words if _is_in(str(word), raw, lower)}


def found_in_value(value: Any, words: Iterable[object]) -> set[str]:
    """The same of a database's value."""
    if value is None:
        return set()
    if isinstance(value, bytes | str):
        return found_in(value, words)
    return found_in(json.dumps(value, default=str, ensure_ascii=False), words)


def around(data: bytes | str, word: str, *, characters: int = 120) -> str:
    """Where it stands in plain text, for whoever has to look."""
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    place = text.lower().find(word.lower())
    return text[max(0, place - characters) : place + characters] if place >= 0 else "(encoded)"


def _is_in(word: str, raw: bytes, lower: bytes) -> bool:
    return word.lower().encode() in lower or any(needle in raw for needle in _needles(word))


@cache
def _needles(word: str) -> tuple[bytes, ...]:
    return tuple(needle for text in (word, word.lower(), word.upper()) for needle in _encoded(text))


def _encoded(text: str) -> Iterator[bytes]:
    data = text.encode()
    yield data.hex().encode()
    yield data.hex().upper().encode()
    yield data.hex(" ").encode()
    yield "".join(f"%{byte:02X}" for byte in data).encode()
    yield "".join(f"%{byte:02x}" for byte in data).encode()
    yield "".join(f"\\u{byte:04x}" for byte in data).encode()
    yield "".join(f"\\x{byte:02x}" for byte in data).encode()
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    for shift in range(3):
        padded = b"\0" * shift + data + b"\0" * 3
        # only characters that are made of the word's bits alone
        first, last = -(-8 * shift // 6), 8 * (shift + len(data)) // 6
        yield base64.b64encode(padded)[first:last]
        yield base64.urlsafe_b64encode(padded)[first:last]
