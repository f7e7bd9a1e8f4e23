"""References: what an order names, by the identifiers that the laboratory gave it.

In: an Order. Out: logical references (R4, Reference.identifier), and no element for what it does not name.
"""

from __future__ import annotations

import re
from typing import Any, Final

from integrations.fhir.terms import ACCESSION, DICOM_UID, FILLER, IDENTIFIER_TYPE, MEDICAL_RECORD, PLACER
from worker.jobs.order import Order, Patient

Json = dict[str, Any]

_URI: Final = re.compile(r"(https?|urn):\S+")
_OID: Final = re.compile(r"[0-2](\.(0|[1-9]\d*))+")


def observed(order: Order) -> Json:
    """For an Observation."""
    elements = _about(order)
    studies = _study(order)
    specimens = _specimen(order)
    return (
        elements
        | ({"specimen": specimens[0]} if specimens else {})
        | ({"derivedFrom": studies} if studies else {})
    )


def reported(order: Order) -> Json:
    """For a DiagnosticReport."""
    more = {"specimen": _specimen(order), "imagingStudy": _study(order)}
    return _about(order) | {name: value for name, value in more.items() if value}


def image(order: Order) -> list[Json]:
    """The study, and the series: where the image is."""
    series = [_logical("ImagingStudy", _uid(order.series_uid))] if order.series_uid else []
    return _study(order) + series


def _about(order: Order) -> Json:
    elements: Json = {}
    if requests := _requests(order):
        elements["basedOn"] = requests
    if order.patient is not None:
        elements["subject"] = _logical("Patient", _patient_identifier(order.patient))
    if order.occurred_at is not None:
        # R4: a time without a zone is no dateTime.
        moment = order.occurred_at if order.occurred_at.tzinfo else order.occurred_at.date()
        elements["effectiveDateTime"] = moment.isoformat()
    return elements


def _requests(order: Order) -> list[Json]:
    """One request by each number it has: the server knows it by one of them."""
    numbers = ((PLACER, order.placer_order), (FILLER, order.filler_order), (ACCESSION, order.accession))
    return [_logical("ServiceRequest", _typed(kind, value)) for kind, value in numbers if value]


def _specimen(order: Order) -> list[Json]:
    if order.slide:
        return [_logical("Specimen", _typed(FILLER, order.slide))]
    return [_logical("Specimen", _typed(ACCESSION, order.accession))] if order.accession else []


def _study(order: Order) -> list[Json]:
    return [_logical("ImagingStudy", _uid(order.study_uid))] if order.study_uid else []


def _uid(uid: str) -> Json:
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def _patient_identifier(patient: Patient) -> Json:
    """The authority is a system where it is a URI or has an OID (`NAME&OID&ISO`), or else a name."""
    parts = patient.authority.split("&")
    known = _typed(MEDICAL_RECORD, patient.id)
    if _URI.fullmatch(patient.authority):
        return known | {"system": patient.authority}
    if len(parts) > 2 and parts[2] == "ISO" and _OID.fullmatch(parts[1]):
        return known | {"system": f"urn:oid:{parts[1]}"}
    return known | ({"assigner": {"display": parts[0]}} if parts[0] else {})


def _typed(kind: str, value: str) -> Json:
    return {"type": {"coding": [{"system": IDENTIFIER_TYPE, "code": kind}]}, "value": value}


def _logical(kind: str, identifier: Json) -> Json:
    return {"type": kind, "identifier": identifier}
