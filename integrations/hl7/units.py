"""Units: a message falls apart into what it says about one slide or order at a time.

In: a message. Out: units, each with the segments that belong to it: the head and patient it shares with
others, its order, its specimen. It knows the groups of order and result messages (HL7 v2.5.1, chapters 4 and
7), and no field but ORC-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from integrations.hl7.message import Message, Segment
from integrations.hl7.paths import read_path
from worker.errors import MessageTooLarge
from worker.jobs.order import Code

MOST_UNITS: Final = 200

#: their specimens come first, with their orders inside
_SPECIMEN_FIRST: Final = frozenset({"OML^O33", "OML^O35", "OUL^R22", "OUL^R23"})
#: a second request without an ORC of its own is of the same order
_ONE_ORDER: Final = frozenset({"ORM", "OML", "OMG"})
#: where there is no order yet
_STARTS: Final = ("ORC", "OBR", "SPM")
#: ORC-1: an earlier result that is sent along
_PRIOR_RESULT: Final = "PR"


@dataclass(frozen=True, slots=True, repr=False)
class Unit:
    by_name: Mapping[str, Sequence[Segment]]

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Self:
        by_name: dict[str, list[Segment]] = {}
        for segment in segments:
            by_name.setdefault(segment.name, []).append(segment)
        return cls(by_name)

    def all(self, name: str) -> Sequence[Segment]:
        return self.by_name.get(name, ())

    def values(self, path: str) -> Iterator[str]:
        """Everything that stands there, in any segment of that name, in any repetition."""
        where = read_path(path)
        for segment in self.all(where.segment):
            yield from filter(None, where.values(segment))

    def find(self, paths: Sequence[str]) -> tuple[str, str]:
        """The first of `paths` under which there is something, and what; two empty texts for nothing."""
        return next(((value, path) for path in paths for value in self.values(path)), ("", ""))

    def code(self, paths: Sequence[str]) -> Code:
        found = (
            where.code(segment) for where in map(read_path, paths) for segment in self.all(where.segment)
        )
        return next((code for code in found if code != Code()), Code())


def units(message: Message) -> Iterator[Unit]:
    """In their order. A message without orders is one unit, or as many as it has patients.

    Raises MessageTooLarge: what they share is gone through once for each of them.
    """
    walk = _specimen_first if message.kind in _SPECIMEN_FIRST else _order_first
    for number, segments in enumerate(walk(message)):
        if number >= MOST_UNITS:
            raise MessageTooLarge(f"At most {MOST_UNITS} orders and specimens.")
        yield Unit.of(segments)


@dataclass(slots=True)
class _Order:
    """An order group: its own segments, and one list for each specimen."""

    segments: list[Segment]
    specimens: list[list[Segment]] = field(default_factory=list)
    #: after a second patient of an order message: results of earlier cases
    is_after_patient: bool = False

    def has(self, name: str) -> bool:
        return any(segment.name == name for segment in self.segments)

    def add(self, segment: Segment) -> None:
        (self.specimens[-1] if self.specimens else self.segments).append(segment)

    @property
    def is_prior(self) -> bool:
        controls = [segment.get(1) for segment in self.segments if segment.name == "ORC"]
        return _PRIOR_RESULT in controls or (self.is_after_patient and not controls)

    def common_order(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.name in ("ORC", "TQ1")]


@dataclass(slots=True)
class _Patient:
    segments: list[Segment] = field(default_factory=list)
    orders: list[_Order] = field(default_factory=list)


def _order_first(message: Message) -> Iterator[list[Segment]]:
    """ORC OBR TQ1 OBX SPM OBX ORC ...; a document (TXA) is about every order before it."""
    code = message.kind.partition("^")[0]
    head, patients, document = _patients(message, code)
    for patient in patients:
        shared = [*head, *patient.segments]
        kept = [order for order in patient.orders if not order.is_prior]
        if not patient.orders:
            yield [*shared, *document]
        for order in kept:
            for specimen in order.specimens or [[]]:
                yield [*shared, *order.segments, *specimen, *document]


def _patients(message: Message, code: str) -> tuple[list[Segment], list[_Patient], list[Segment]]:
    head: list[Segment] = []
    document: list[Segment] = []
    patients: list[_Patient] = []
    for segment in message.segments:
        if document or segment.name == "TXA":
            document.append(segment)
        elif segment.name == "PID" and (code == "ORU" or not _has_orders(patients)):
            patients.append(_Patient([segment]))
        elif patients:
            _sort_in(segment, patients[-1], code)
        elif segment.name in _STARTS:
            patients.append(_Patient())
            _sort_in(segment, patients[-1], code)
        else:
            head.append(segment)
    return head, patients or [_Patient()], document


def _has_orders(patients: list[_Patient]) -> bool:
    return bool(patients) and bool(patients[-1].orders)


def _sort_in(segment: Segment, patient: _Patient, code: str) -> None:
    order = patient.orders[-1] if patient.orders else None
    if segment.name == "PID":
        patient.orders.append(_Order([], is_after_patient=True))
    elif order is None and segment.name not in _STARTS:
        patient.segments.append(segment)
    elif order is None or _starts_order(segment, order, code):
        patient.orders.append(_next_order(segment, order, code))
        _place(segment, patient.orders[-1])
    else:
        _place(segment, order)


def _next_order(segment: Segment, before: _Order | None, code: str) -> _Order:
    if before is None or segment.name != "OBR":
        return _Order([])
    shared = before.common_order() if code in _ONE_ORDER else []
    return _Order(shared, is_after_patient=before.is_after_patient)


def _place(segment: Segment, order: _Order) -> None:
    if segment.name == "SPM":
        order.specimens.append([segment])
    else:
        order.add(segment)


def _starts_order(segment: Segment, order: _Order, code: str) -> bool:
    if segment.name == "ORC":
        # In OUL the request comes first, its ORC after it.
        return order.has("ORC") or not (code == "OUL" and order.has("OBR"))
    return segment.name == "OBR" and order.has("OBR")


def _specimen_first(message: Message) -> Iterator[list[Segment]]:
    """SPM OBX SAC ORC OBR ... ORC OBR ... SPM ...; a second container (SAC) has orders of its own."""
    head: list[Segment] = []
    specimen: list[Segment] = []
    orders: list[_Order] = []
    code = message.kind.partition("^")[0]
    for segment in message.segments:
        if segment.name in ("SPM", "SAC") and (orders or (segment.name == "SPM" and specimen)):
            yield from _with_orders([*head, *specimen], orders)
            specimen = [] if segment.name == "SPM" else [one for one in specimen if one.name != "SAC"]
            specimen.append(segment)
            orders = []
        elif orders and not _starts_order(segment, orders[-1], code):
            orders[-1].add(segment)
        elif segment.name in ("ORC", "OBR"):
            orders.append(_Order([segment]))
        else:
            (specimen if specimen or segment.name == "SPM" else head).append(segment)
    yield from _with_orders([*head, *specimen], orders)


def _with_orders(shared: list[Segment], orders: list[_Order]) -> Iterator[list[Segment]]:
    if not orders:
        yield shared
    for order in orders:
        if not order.is_prior:
            yield [*shared, *order.segments]
