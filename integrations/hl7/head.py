"""Head: what MSH says of a message, even of one that cannot be read.

In: the bytes as they came. Out: a `Head` of text in which each character is one byte, so that what is sent
back is what came; it never fails. Once the message is read, an `Identity`: by it the same message is known
when it comes again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from integrations.hl7.delimiters import STANDARD, Delimiters
from integrations.hl7.message import Message, Segment, delimiters_of
from worker.errors import FieldInvalid, FieldMissing, MessageUnreadable

#: MSH is looked for in this many bytes
HEAD_BYTES: Final = 4096
#: of an identifier, whatever it identifies
LONGEST_IDENTIFIER: Final = 200

_BEFORE: Final = b"\xef\xbb\xbf\r\n \t"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, repr=False)
class Head:
    """MSH; what it lacks is empty."""

    msh: Segment

    @property
    def application(self) -> str:
        return self.msh.get(3)

    @property
    def facility(self) -> str:
        return self.msh.get(4)

    @property
    def code(self) -> str:
        """MSH-9.1: `OML`."""
        return self.msh.get(9)

    @property
    def trigger(self) -> str:
        """MSH-9.2: `O21`; from MSH-9.3 where it is empty."""
        return self.msh.get(9, 2) or self.msh.get(9, 3).rpartition("_")[2]

    @property
    def control_id(self) -> str:
        return self.msh.get(10)

    @property
    def is_test(self) -> bool:
        """MSH-11: training or debugging (HL7 table 0103)."""
        return self.msh.get(11) in ("T", "D")

    @property
    def version(self) -> str:
        return self.msh.get(12)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Identity:
    """The same three from the same sender mean the same message; the digest says whether it is."""

    application: str
    facility: str
    control_id: str
    #: SHA-256 of all bytes as they came
    digest: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.application, self.facility, self.control_id


def read_head(raw: bytes) -> Head:
    """The head of any bytes at all."""
    line = re.split(rb"[\r\n]", raw[:HEAD_BYTES].lstrip(_BEFORE), maxsplit=1)[0].decode("latin-1")
    try:
        delimiters = delimiters_of(line)
    except MessageUnreadable:
        delimiters = STANDARD
    if not line.startswith(f"MSH{delimiters.field}"):
        return Head(Segment(("MSH",), delimiters))
    return Head(_msh(line, delimiters))


def head_of(message: Message) -> Head:
    """The head of a message that was read, in its own characters."""
    return Head(message.first("MSH"))


def identity_of(message: Message, raw: bytes) -> Identity:
    """Raises FieldMissing where MSH-10 is empty, FieldInvalid for what nothing can be found by."""
    head = head_of(message)
    if not head.control_id:
        raise FieldMissing("MSH-10 is needed.", where="MSH-10")
    return Identity(
        application=identifier(head.application, "MSH-3"),
        facility=identifier(head.facility, "MSH-4"),
        control_id=identifier(head.control_id, "MSH-10"),
        digest=hashlib.sha256(raw).hexdigest(),
    )


def identifier(text: str, where: str) -> str:
    """`text`, trimmed. Raises FieldInvalid for control characters and for what is far too long."""
    trimmed = text.strip()
    if _CONTROL.search(trimmed):
        raise FieldInvalid(f"{where} holds a control character.", where=where)
    if len(trimmed) > LONGEST_IDENTIFIER:
        raise FieldInvalid(f"{where} is longer than {LONGEST_IDENTIFIER} characters.", where=where)
    return trimmed


def _msh(line: str, delimiters: Delimiters) -> Segment:
    name, *fields = line.split(delimiters.field)
    return Segment((name, delimiters.field, *fields), delimiters)
