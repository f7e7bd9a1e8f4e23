"""Patients: who a resource is about, as orders have it.

In: resources. Out: a Patient, or None: an accession number is enough to run on, and a server may keep its
patients to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from integrations.fhir.elements import Element, each, first_identifier, one, text, texts
from integrations.fhir.resources import Resources
from integrations.fhir.terms import MEDICAL_RECORD
from worker.jobs.order import Patient

#: R4 AdministrativeGender -> HL7 table 0001, which orders have
SEXES: Final = {"male": "M", "female": "F", "other": "O", "unknown": "U"}
#: which name is used where there are several
NAME_USES: Final = ("official", "usual", "")


def patient_of(resources: Resources, sources: Sequence[Element]) -> Patient | None:
    """The subject of the first of `sources` whose subject is known."""
    for source in sources:
        found = resources.name(source, one(source, "subject"), "Patient")
        if found is not None and (own := first_identifier(found, MEDICAL_RECORD)):
            return _patient(found, own)
    return None


def _patient(resource: Element, own: Element) -> Patient:
    names = each(resource, "name")
    name = next((n for use in NAME_USES for n in names if text(n, "use") == use), names[0] if names else {})
    return Patient(
        id=text(own, "value"),
        authority=text(own, "system"),
        family=text(name, "family") or text(name, "text"),
        given=" ".join(texts(name, "given")),
        birth_date=text(resource, "birthDate").replace("-", ""),
        sex=SEXES.get(text(resource, "gender"), ""),
    )
