"""Acknowledgements: what became of a message, said the way its sender asked for.

In: the message's head, the error if there was one, a control id and a time. Out: the bytes of one
acknowledgement, or none where none is wanted. It decides which error means try again and which means never;
it knows no order and no store.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from integrations.hl7.charset import CHARSETS
from integrations.hl7.head import Head
from integrations.hl7.writing import FieldValue, WrittenSegment, message, segment
from worker.errors import (
    CharacterSetUnsupported,
    CharactersInvalid,
    FieldInvalid,
    FieldMissing,
    IdempotencyConflict,
    InputError,
    MessageTooLarge,
    MessageUnreadable,
    MessageUnsupported,
    PathlaneError,
    VersionUnsupported,
)


class Verdict(StrEnum):
    """The second letter of MSA-1 (HL7 table 0008)."""

    ACCEPTED = "A"  #: AA, CA: it is in the store
    TRY_AGAIN = "E"  #: AE, CE: not now, or not before somebody has seen to it
    NEVER = "R"  #: AR, CR: not as it stands


class Mode(StrEnum):
    """Which acknowledgement is given on the connection the message came by: there is only ever one."""

    APPLICATION = "application"  #: the application's, whatever MSH-15 and MSH-16 say
    ENHANCED = "enhanced"  #: by MSH-15 and MSH-16 (v2.5.1, 2.9.3)


class Judgement(NamedTuple):
    """What an error comes to. `condition` is of HL7 table 0357."""

    verdict: Verdict
    condition: str
    meaning: str
    #: the field, where the error itself does not say
    where: str = ""


_INTERNAL: Final = ("207", "Application internal error")
#: the nearest class decides
JUDGEMENTS: Final[dict[type[BaseException], Judgement]] = {
    MessageUnreadable: Judgement(Verdict.NEVER, "100", "Segment sequence error"),
    MessageTooLarge: Judgement(Verdict.NEVER, "104", "Value too long"),
    # The sender's own character set is a setting here: once it is right, the same bytes are taken.
    CharactersInvalid: Judgement(Verdict.TRY_AGAIN, "102", "Data type error", "MSH-18"),
    CharacterSetUnsupported: Judgement(Verdict.NEVER, "103", "Table value not found", "MSH-18"),
    VersionUnsupported: Judgement(Verdict.NEVER, "203", "Unsupported version id", "MSH-12"),
    MessageUnsupported: Judgement(Verdict.NEVER, "200", "Unsupported message type", "MSH-9"),
    FieldMissing: Judgement(Verdict.NEVER, "101", "Required field missing"),
    FieldInvalid: Judgement(Verdict.NEVER, "102", "Data type error"),
    IdempotencyConflict: Judgement(Verdict.TRY_AGAIN, "205", "Duplicate key identifier", "MSH-10"),
    InputError: Judgement(Verdict.NEVER, *_INTERNAL),
    BaseException: Judgement(Verdict.TRY_AGAIN, *_INTERNAL),
}

#: MSH-9 of the application's acknowledgement; others are answered by ACK
ANSWERS: Final = {
    ("OML", "O21"): ("ORL", "O22", "ORL_O22"),
    ("OML", "O33"): ("ORL", "O34", "ORL_O34"),
    ("OML", "O35"): ("ORL", "O36", "ORL_O36"),
    ("ORM", "O01"): ("ORR", "O02", "ORR_O02"),
}
#: MSH-9.1 of what is itself an answer, and is not answered
_ANSWERS_THEMSELVES: Final = frozenset({"ACK", "ORL", "ORR", "ORG", "MCF"})

_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{2})(?:-(\d+)(?:\.(\d+))?)?")


def judged(problem: BaseException | None) -> Judgement:
    if problem is None:
        return Judgement(Verdict.ACCEPTED, "0", "Message accepted")
    found = next(JUDGEMENTS[base] for base in type(problem).__mro__ if base in JUDGEMENTS)
    return found._replace(where=getattr(problem, "where", "") or found.where)


def acknowledge(
    head: Head,
    problem: BaseException | None = None,
    *,
    control_id: str,
    at: datetime,
    mode: Mode = Mode.APPLICATION,
    note: str = "",
) -> bytes:
    """`head` is of `read_head`, byte for byte. `control_id` is the acknowledgement's own. `note` is for MSA-3
    where there is no `problem`.

    Empty where the sender wants none. An error that is not one of ours is never quoted.
    """
    judgement = judged(problem)
    first_letter = _kind(head, judgement.verdict, mode)
    if not first_letter:
        return b""
    text = (
        problem.public if isinstance(problem, PathlaneError) else "Something went wrong." if problem else note
    )
    segments = [
        _msh(head, control_id, at, is_accept=first_letter == "C"),
        segment("MSA", {1: first_letter + judgement.verdict, 2: head.control_id, 3: text}),
    ]
    if problem is not None:
        segments.append(_err(judgement, text))
    return message(segments).encode("latin-1", "replace")


def _kind(head: Head, verdict: Verdict, mode: Mode) -> str:
    """`A` for the application's, `C` for the accepting system's, or nothing."""
    if head.code in _ANSWERS_THEMSELVES:
        return ""
    accept, apply = head.msh.get(15), head.msh.get(16)
    if mode is Mode.APPLICATION or not (accept or apply):
        return "A"
    if _is_wanted(apply, verdict):
        return "A"
    return "C" if _is_wanted(accept, verdict) else ""


def _is_wanted(condition: str, verdict: Verdict) -> bool:
    """HL7 table 0155."""
    accepted = verdict is Verdict.ACCEPTED
    return {"": False, "NE": False, "SU": accepted, "ER": not accepted}.get(condition, True)


def _msh(head: Head, control_id: str, at: datetime, *, is_accept: bool) -> WrittenSegment:
    general = ("ACK", head.trigger, "ACK") if head.trigger else ("ACK",)
    charset = head.msh.get(18).strip().upper()
    kind = general if is_accept else ANSWERS.get((head.code, head.trigger), general)
    return segment("MSH", {
        3: _same(head, 5), 4: _same(head, 6), 5: _same(head, 3), 6: _same(head, 4),
        7: at.strftime("%Y%m%d%H%M%S%z"), 9: kind, 10: control_id, 11: _same(head, 11) or "P",
        12: _same(head, 12) or "2.5.1", 18: charset if charset in CHARSETS else "",
    })  # fmt: skip


def _same(head: Head, number: int) -> FieldValue:
    """A field of the message's first repetition, as it came."""
    repetition = head.msh.field(number).repetition(0)
    return tuple(component.subcomponents for component in repetition.components) if repetition.raw else ""


def _err(judgement: Judgement, text: str) -> WrittenSegment:
    place = _PLACE.fullmatch(judgement.where)
    name, number, component = place.groups("") if place else ("", "", "")
    location = (name, "1" if name else "", number, "1" if component else "", component)
    return segment("ERR", {
        2: location, 3: (judgement.condition, judgement.meaning, "HL70357"), 4: "E", 8: text,
    })  # fmt: skip
