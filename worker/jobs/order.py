"""Orders: what a hospital's systems say about a slide, in one vocabulary for HL7, FHIR and DICOM.

In: nothing; the readers of `integrations` make these values. Out: frozen values. It knows no wire format,
no rule and no table. Names follow IHE PaLM DPOW and HL7 v2.5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from worker.jobs.request import Priority


class Channel(StrEnum):
    """How a message came."""

    HL7 = "hl7"
    FHIR = "fhir"
    DICOM = "dicom"


class Verb(StrEnum):
    """What an order says has happened; everything a lab sends is one of these, or is left alone."""

    REGISTERED = "registered"  #: a slide or a case exists: what is known about it
    AVAILABLE = "available"  #: its image can be read: run
    WITHDRAWN = "withdrawn"  #: the image is gone, or the order was cancelled: cancel, results are stale
    CLOSED = "closed"  #: the case was signed out: cancel, and nothing more is told
    MERGED = "merged"  #: one patient or accession became another: re-key


class Subject(StrEnum):
    """What was merged."""

    PATIENT = "patient"
    ACCESSION = "accession"


class Mode(StrEnum):
    """Whether results leave the house."""

    SHADOW = "shadow"  #: read and stored, told to nobody
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded element (CWE, CodeableConcept): any part may be empty."""

    code: str = ""
    text: str = ""
    #: coding system: `SCT`, `LN`, `L`, or a FHIR system URL
    system: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who says so: MSH-3 and MSH-4, a FHIR server's name, or an application entity title."""

    channel: Channel
    application: str
    facility: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Patient:
    """Who the slide is of. Kept encrypted, put into results for the lab, and nowhere else."""

    #: identifier as it came: PID-3.1
    id: str
    #: assigning authority as it came: PID-3.4, its components joined by `&`
    authority: str = ""
    family: str = ""
    given: str = ""
    #: as it came: YYYYMMDD
    birth_date: str = ""
    sex: str = ""

    def __repr__(self) -> str:
        return "Patient(hidden)"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Merge:
    """`prior` is now `survivor`: identifiers of one kind, with their authority where they have one."""

    subject: Subject
    prior: str
    survivor: str
    prior_authority: str = ""
    survivor_authority: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Order:
    """One thing that one message says about one slide (or a whole case, when `slide` is empty)."""

    verb: Verb
    sender: Sender
    #: in which accession numbers and patient numbers are unique; a site sets it for a sender
    domain: str = ""
    accession: str = ""
    slide: str = ""
    block: str = ""
    placer_order: str = ""
    filler_order: str = ""
    procedure: Code = field(default_factory=Code)
    specimen_type: Code = field(default_factory=Code)
    body_site: Code = field(default_factory=Code)
    stains: tuple[Code, ...] = ()
    #: the lab's own; triage may raise it and never lowers it
    priority: Priority = Priority.ROUTINE
    study_uid: str = ""
    series_uid: str = ""
    #: image references of our own schemes that the message itself gives: `https:` ...
    images: tuple[str, ...] = ()
    patient: Patient | None = None
    #: when it happened, as the sender says: the scan time of an image
    occurred_at: datetime | None = None
    #: a test message (MSH-11 T or D): kept apart, never told to a live endpoint
    is_test: bool = False
    merge: Merge | None = None
    #: the words of a final report, where the message closes the case with one; kept encrypted
    final_report: str = ""

    def __repr__(self) -> str:
        return f"Order(verb={self.verb.value!r}, channel={self.sender.channel.value!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a site's protocol, ready to be asked about one order."""

    #: name and version of the protocol, and the question's own name
    protocol: str
    version: int
    name: str
    text: str
    options: tuple[str, ...] = ()
    style: str = "cot"
    #: x, y, width, height in pixels of the image; the whole image when there is none
    regions: tuple[tuple[int, int, int, int], ...] = ()
    priority: Priority = Priority.ROUTINE
    #: names of endpoints to tell
    tell: tuple[str, ...] = ()
    mode: Mode = Mode.SHADOW
    #: name of the rule that asked
    rule: str = ""
    #: answer text (an option, casefolded) -> what it means for the case
    triage: dict[str, str] = field(default_factory=dict)
    #: answer text (an option, casefolded) -> a regular expression that an agreeing final report matches
    final: dict[str, str] = field(default_factory=dict)


class TriageClass(StrEnum):
    """What an answer means for the case's place in the line."""

    STAT = "stat"  #: raise to STAT
    URGENT = "urgent"  #: raise to urgent
    FLAG = "flag"  #: leave the priority, flag for review
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result:
    """A reading in the light of its order: what every outgoing channel tells."""

    job_id: str
    #: what the order said, as it stands after merges
    order: Order
    question: Question
    triage: TriageClass
    #: the lab's own priority, raised by `triage`, never lowered
    priority: Priority
    #: id of the job whose reading this one replaces, where there is one
    supersedes: str | None
    #: when the reading was finished
    observed_at: datetime


def raised(ordered: Priority, triage: TriageClass) -> Priority:
    """The priority after triage: `ordered`, or higher."""
    wanted = {TriageClass.STAT: Priority.STAT, TriageClass.URGENT: Priority.URGENT}.get(triage, ordered)
    return min(ordered, wanted, key=lambda priority: priority.level)


def known_by_now(earlier: Order, later: Order) -> Order:
    """`later` with what only `earlier` said. The more urgent priority stands: a lab's STAT is never lost."""
    given = {name: value for name in _CONTEXT if (value := getattr(later, name)) not in _EMPTY}
    kept = {name: getattr(earlier, name) for name in _CONTEXT if name not in given}
    urgent = min(earlier.priority, later.priority, key=lambda priority: priority.level)
    return replace(later, **kept, priority=urgent)


_CONTEXT = (
    "block", "placer_order", "filler_order", "procedure", "specimen_type", "body_site", "stains",
    "study_uid", "series_uid", "images", "patient", "occurred_at", "final_report",
)  # fmt: skip
_EMPTY = ("", (), None, Code())


def order_document(order: Order) -> dict[str, Any]:
    """JSON data; `order_of` gives the order back."""
    occurred = order.occurred_at.isoformat() if order.occurred_at else None
    return asdict(order) | {"occurred_at": occurred}


def order_of(document: Mapping[str, Any]) -> Order:
    values = dict(document)
    for name in ("procedure", "specimen_type", "body_site"):
        values[name] = Code(**values[name])
    sender, patient, merge = values["sender"], values["patient"], values["merge"]
    return Order(**values | {
        "verb": Verb(values["verb"]),
        "priority": Priority(values["priority"]),
        "sender": Sender(**sender | {"channel": Channel(sender["channel"])}),
        "stains": tuple(Code(**stain) for stain in values["stains"]),
        "images": tuple(values["images"]),
        "patient": Patient(**patient) if patient else None,
        "merge": Merge(**merge | {"subject": Subject(merge["subject"])}) if merge else None,
        "occurred_at": datetime.fromisoformat(values["occurred_at"]) if values["occurred_at"] else None,
    })  # fmt: skip


def question_document(question: Question) -> dict[str, Any]:
    """JSON data; `question_of` gives the question back."""
    return asdict(question)


def question_of(document: Mapping[str, Any]) -> Question:
    return Question(**dict(document) | {
        "options": tuple(document["options"]),
        "regions": tuple(tuple(region) for region in document["regions"]),
        "tell": tuple(document["tell"]),
        "priority": Priority(document["priority"]),
        "mode": Mode(document["mode"]),
    })  # fmt: skip
