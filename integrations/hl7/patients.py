"""Patients: who a message is about, and which identifiers became which.

In: a unit of a message. Out: a `Patient`; merges. It picks one identifier of several always in the same way,
so that the same patient is found again. It knows no order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from integrations.hl7.head import identifier
from integrations.hl7.message import Repetition
from integrations.hl7.paths import NULL, plain, read_path
from integrations.hl7.units import Unit
from worker.errors import FieldMissing
from worker.jobs.order import Merge, Patient, Subject

#: PID-3.5 (HL7 table 0203), the best first: medical record number, the hospital's own number
_KINDS: Final = ("MR", "PI")


def patient_of(unit: Unit, paths: Sequence[str]) -> Patient | None:
    """None where the message names nobody. Raises FieldInvalid."""
    known = [one for path in paths for one in _identifiers(unit, path)]
    return _patient(unit, _best(known)) if known else None


def merges_of(unit: Unit, paths: Sequence[str]) -> Iterator[tuple[Merge, Patient]]:
    """MRG-1 became PID-3, each identifier within its own authority. Raises FieldMissing, FieldInvalid."""
    prior = list(_identifiers(unit, "MRG-1"))
    known = [one for path in paths for one in _identifiers(unit, path)]
    for name, found in (("MRG-1", prior), ("PID-3", known)):
        if not found:
            raise FieldMissing(f"{name} is needed.", where=name)
    for old in prior:
        same = [one for one in known if (_authority(one), one.get(5)) == (_authority(old), old.get(5))]
        near = [one for one in known if _authority(one) == _authority(old)]
        new = _best(same or near or known)
        if (_id(new), _authority(new)) == (_id(old), _authority(old)):
            continue
        merge = Merge(
            subject=Subject.PATIENT, prior=_id(old, "MRG-1"), prior_authority=_authority(old),
            survivor=_id(new), survivor_authority=_authority(new),
        )  # fmt: skip
        yield merge, _patient(unit, new)


def _patient(unit: Unit, best: Repetition) -> Patient:
    pid = next(iter(unit.all("PID")), None)
    name = pid.field(5).repetition(0) if pid else best
    return Patient(
        id=_id(best),
        authority=_authority(best),
        family=_text(name.get(1)) if pid else "",
        given=_text(name.get(2)) if pid else "",
        birth_date=_text(pid.get(7))[:8] if pid else "",
        sex=_text(pid.get(8)) if pid else "",
    )


def _identifiers(unit: Unit, path: str) -> Iterator[Repetition]:
    where = read_path(path)
    for segment in unit.all(where.segment):
        yield from (one for one in segment.field(where.field).repetitions if plain(one.get()).strip())


def _best(known: Sequence[Repetition]) -> Repetition:
    ranks = {kind: rank for rank, kind in enumerate(_KINDS)}
    return min(known, key=lambda one: ranks.get(one.get(5), len(ranks)))


def _id(one: Repetition, where: str = "PID-3") -> str:
    return identifier(one.get(), where)


def _authority(one: Repetition) -> str:
    parts = ("" if part == NULL else part.strip() for part in one.component(4).subcomponents)
    return identifier("&".join(parts).rstrip("&"), "PID-3.4")


def _text(value: str) -> str:
    return plain(value).strip()
