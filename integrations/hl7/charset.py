"""Character sets: the bytes of a message become text, by MSH-18.

In: bytes, and the sender's own character set for messages that name none. Out: text and Python's name of
the set; CharacterSetUnsupported, or CharactersInvalid with the place and never the text. HL7 table 0211, the
sets of which every byte stands for one thing: no UTF-16 or 32, no ISO IR sets that switch by escapes.
"""

from __future__ import annotations

import re
from typing import Final

from worker.errors import CharacterSetUnsupported, CharactersInvalid

CHARSETS: Final = {
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 10), 15)},
    "UNICODE UTF-8": "utf-8",
    # Not in the table, and sent all the same.
    "UNICODE": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
}
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: MSH-18 stands within this many bytes
_HEAD: Final = 4096


def codec_of(charset: str) -> str:
    """Python's name of a set of HL7 table 0211. Raises CharacterSetUnsupported."""
    codec = CHARSETS.get(charset.strip().upper())
    if codec is None:
        raise CharacterSetUnsupported(f"Supported are {', '.join(list(CHARSETS)[:-3])}.", where="MSH-18")
    return codec


def declared(raw: bytes) -> str:
    """MSH-18, its first repetition; empty when there is none."""
    line = re.split(rb"[\r\n]", raw.lstrip(b"\r\n \t")[:_HEAD], maxsplit=1)[0]
    fields = line.split(line[3:4]) if line.startswith(b"MSH") and len(line) > 3 else []
    if len(fields) < 18:
        return ""
    repetition = (fields[1][1:2] if len(fields) > 1 else b"") or b"~"
    return fields[17].split(repetition, 1)[0].decode("ascii", "replace").strip()


def decode(raw: bytes, *, default: str = "ASCII") -> tuple[str, str]:
    """The text, without a byte order mark, and the codec. The first bad byte is counted from 0."""
    body = raw.removeprefix(_BYTE_ORDER_MARK)
    mark = len(raw) - len(body)
    codec = codec_of(declared(body) or ("UNICODE UTF-8" if mark else default))
    try:
        return body.decode(codec), codec
    except UnicodeDecodeError as error:
        start = mark + error.start
    # Not inside `except`: what is raised there keeps the other error, and that one all of the text.
    raise CharactersInvalid(f"The byte at offset {start} is not {codec}.", where="MSH-18")
