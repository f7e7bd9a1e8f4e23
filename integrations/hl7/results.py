"""Results: a reading in the light of its order becomes one HL7 v2.5.1 message, preliminary throughout.

In: a result, its reading, a control id, the time, who sends and who receives. Out: the bytes of an ORU^R01 or
OUL^R22 in UTF-8. Nothing a model or a lab wrote can add a field or a segment. Its codes stand in
`result_codes`; it opens no connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from integrations.hl7.result_codes import (
    METHOD,
    OBSERVATIONS,
    OUTCOMES,
    PRIORITIES,
    PROCEDURE,
    SPECIMEN,
    SYSTEM,
    SYSTEMS,
    TRIAGE,
)
from integrations.hl7.writing import FieldValue, WrittenSegment, message, segment
from worker.jobs.order import Code, Order, Patient, Question, Result, TriageClass
from worker.jobs.reading import RESEARCH_USE, Reading, ReadingOutcome
from worker.jobs.request import OPTION_LETTERS, Priority

Kind = Literal["ORU^R01", "OUL^R22"]

PRELIMINARY: Final = "P"
NOT_OBTAINED: Final = "X"
#: MSH-10 in v2.5.1
CONTROL_ID_LENGTH: Final = 20
#: of an ST in v2.5.1; what is longer, or has lines, goes as FT
ST_LENGTH: Final = 199
#: one OBX-5 of reasoning: what the narrowest receivers keep
PIECE_LENGTH: Final = 4000

_LINE_ENDS: Final = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_UNWRITABLE: Final = re.compile("[\x00-\x09\x0e-\x1b\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observation:
    """One OBX."""

    code: str
    kind: str
    value: FieldValue
    status: str = PRELIMINARY
    #: OBX-4: the number of a piece
    piece: str = ""


def control_id_of(delivery_id: str) -> str:
    """MSH-10: the end of the delivery's ULID, the same on every attempt."""
    return delivery_id[-CONTROL_ID_LENGTH:]


def result_message(
    result: Result,
    reading: Reading,
    *,
    control_id: str,
    at: datetime,
    kind: Kind,
    sending: tuple[str, str],
    receiving: tuple[str, str],
    test: bool,
) -> bytes:
    """The message, segments ended by CR. `sending` and `receiving` are application and facility.

    A reading without an answer is told as such, with the lab's own priority.
    """
    order = result.order
    msh = segment("MSH", {
        3: _line(sending[0]), 4: _line(sending[1]), 5: _line(receiving[0]),
        6: _line(receiving[1]), 7: _time(at), 9: (*kind.split("^"), kind.replace("^", "_")),
        10: _line(control_id), 11: "T" if test or order.is_test else "P", 12: "2.5.1", 18: "UNICODE UTF-8",
    })  # fmt: skip
    patient = [_patient(order.patient)] if order.patient else []
    told = [*_notes(result, reading), _timing(result, reading), *_observations(result, reading)]
    common, request, specimen = _common_order(order), _request(result), _specimen(order)
    if kind == "ORU^R01":
        segments = [msh, *patient, common, request, *told, specimen]
    else:
        segments = [msh, *patient, specimen, request, common, *told]
    return message(segments).encode()


def _patient(patient: Patient) -> WrittenSegment:
    authority = tuple(_line(part) for part in patient.authority.split("&"))
    return segment("PID", {
        1: "1", 3: (_line(patient.id), "", "", authority),
        5: (_line(patient.family), _line(patient.given)), 7: _line(patient.birth_date),
        8: _line(patient.sex),
    })  # fmt: skip


def _common_order(order: Order) -> WrittenSegment:
    """ORC-38 (pre-adopted from v2.9, as IHE DPOW does) is the accession."""
    placer, filler = _line(order.placer_order), _line(order.filler_order or order.accession)
    return segment("ORC", {1: "RE", 2: placer, 3: filler, 38: _line(order.accession)})


def _request(result: Result) -> WrittenSegment:
    order = result.order
    return segment("OBR", {
        1: "1", 2: _line(order.placer_order), 3: _line(order.filler_order or order.accession),
        4: _coded(order.procedure if order.procedure != Code() else PROCEDURE),
        7: _time(order.occurred_at or result.observed_at), 20: _line(order.accession),
        22: _time(result.observed_at), 25: PRELIMINARY,
    })  # fmt: skip


def _specimen(order: Order) -> WrittenSegment:
    """SPM-2: the slide's one known id as the placer's and the filler's. SPM-30 (v2.7) is the accession."""
    slide, block = _line(order.slide), _line(order.block)
    return segment("SPM", {
        1: "1", 2: (slide, slide), 3: (block, block),
        4: _coded(order.specimen_type if order.specimen_type != Code() else SPECIMEN),
        8: _coded(order.body_site), 30: _line(order.accession),
    })  # fmt: skip


def _notes(result: Result, reading: Reading) -> Iterator[WrittenSegment]:
    texts = [RESEARCH_USE]
    if reading.provenance.notice not in ("", RESEARCH_USE):
        texts.append(reading.provenance.notice)
    if not _is_answered(reading):
        texts.append("No answer was given. The order's own priority stands.")
    elif (told := _priority(result, reading)) is not result.order.priority:
        texts.append(f"The answer raises the priority from {result.order.priority.value} to {told.value}.")
    if result.supersedes:
        texts.append(f"This replaces the earlier reading of job {result.supersedes}.")
    for number, text in enumerate(texts, start=1):
        yield segment("NTE", {1: str(number), 2: "L", 3: _lines(text), 4: ("RE", "Remark", "HL70364")})


def _timing(result: Result, reading: Reading) -> WrittenSegment:
    return segment("TQ1", {1: "1", 9: _coded(PRIORITIES[_priority(result, reading)])})


def _priority(result: Result, reading: Reading) -> Priority:
    ordered = result.order.priority
    if not _is_answered(reading):
        return ordered
    return min(ordered, result.priority, key=lambda priority: priority.level)


def _observations(result: Result, reading: Reading) -> Iterator[WrittenSegment]:
    equipment = (_line(reading.provenance.model), SYSTEM)
    said = [*_said(result, reading), *_asked(result.question), *_traced(result, reading)]
    for number, one in enumerate(said, start=1):
        code = Code(code=one.code, text=OBSERVATIONS[one.code], system=SYSTEM)
        yield segment("OBX", {
            1: str(number), 2: one.kind, 3: _coded(code), 4: one.piece, 5: one.value, 11: one.status,
            14: _time(result.observed_at), 17: (*METHOD, SYSTEM), 18: equipment,
        })  # fmt: skip


def _said(result: Result, reading: Reading) -> Iterator[_Observation]:
    """Half a reasoning is not told: without an answer there is nothing it leads to."""
    outcome = _Observation(code="OUTCOME", kind="CWE", value=_coded(OUTCOMES[reading.outcome]))
    if not _is_answered(reading):
        yield _Observation(code="ANSWER", kind="", value="", status=NOT_OBTAINED)
        yield _Observation(code="TRIAGE", kind="CWE", value=_coded(TRIAGE[TriageClass.NOTHING]))
        yield outcome
        return
    yield _answer(result.question, reading)
    yield _Observation(code="TRIAGE", kind="CWE", value=_coded(TRIAGE[result.triage]))
    for number, piece in enumerate(_pieces(_clean(reading.reasoning)), start=1):
        yield _Observation(code="REASONING", kind="FT", value=_lines(piece), piece=str(number))
    yield outcome


def _answer(question: Question, reading: Reading) -> _Observation:
    """The chosen option as letter and text, with the model's own words as original text; else the words."""
    place = OPTION_LETTERS.find(reading.choice) if reading.choice else -1
    if not 0 <= place < len(question.options):
        return _text("ANSWER", reading.answer)
    option = Code(code=OPTION_LETTERS[place], text=question.options[place], system=SYSTEM)
    chosen = (*_coded(option), "", "", "", "", "", _line(reading.answer))
    return _Observation(code="ANSWER", kind="CWE", value=chosen)


def _asked(question: Question) -> Iterator[_Observation]:
    yield _text("PROTOCOL", question.protocol)
    yield _Observation(code="PROTOCOL-VERSION", kind="NM", value=str(question.version))
    yield _text("QUESTION-NAME", question.name)
    yield _text("QUESTION", question.text)


def _traced(result: Result, reading: Reading) -> Iterator[_Observation]:
    provenance = reading.provenance
    facts = {
        "MODEL": provenance.model, "WEIGHTS": provenance.weights_digest, "LICENSE": provenance.license,
        "NOTICE": provenance.notice, "JOB": result.job_id, "SUPERSEDES": result.supersedes or "",
        "STUDY": result.order.study_uid, "SERIES": result.order.series_uid,
    }  # fmt: skip
    return (_text(code, fact) for code, fact in facts.items() if fact)


def _is_answered(reading: Reading) -> bool:
    return reading.outcome is ReadingOutcome.ANSWERED


def _text(code: str, text: str) -> _Observation:
    cleaned = _clean(text)
    if len(cleaned) > ST_LENGTH or "\n" in cleaned:
        return _Observation(code=code, kind="FT", value=_lines(text))
    return _Observation(code=code, kind="ST", value=_line(text))


def _pieces(text: str) -> Iterator[str]:
    """Cut after a line, else after a word; joined again they are the whole text."""
    while len(text) > PIECE_LENGTH:
        head = text[:PIECE_LENGTH]
        cut = head.rfind("\n") + 1 or head.rfind(" ") + 1 or PIECE_LENGTH
        yield text[:cut]
        text = text[cut:]
    if text:
        yield text


def _coded(code: Code) -> tuple[str, str, str]:
    system = SYSTEMS.get(code.system, "L" if ":" in code.system else code.system)
    return _line(code.code), _line(code.text), _line(system)


def _time(at: datetime) -> str:
    """DTM in UTC; a time that came without its zone stays without one."""
    return at.strftime("%Y%m%d%H%M%S") if at.tzinfo is None else f"{at.astimezone(UTC):%Y%m%d%H%M%S}+0000"


def _clean(text: str) -> str:
    """Text of lines, without what a terminal, a frame or another system's parser would act on."""
    lines = _LINE_ENDS.sub("\n", text.encode("utf-8", "replace").decode())
    return _UNWRITABLE.sub(" ", lines)


def _lines(text: str) -> str:
    """For FT. Two quotation marks alone are set apart: they would tell the receiver to delete what it has."""
    lines = _clean(text)
    return lines if lines.strip() != '""' else '" "'


def _line(text: str) -> str:
    """For every other type."""
    return _lines(text).replace("\n", " ").strip(" ")
