"""A case as a hospital's FHIR server has it: one request, one block, two slides, one study.

Every name, number and date is made up, and each is a canary: none may come out in an error.
"""

from __future__ import annotations

from typing import Any

import pytest

from worker.jobs.order import Channel, Sender

SENDER = Sender(channel=Channel.FHIR, application="lis")
OURS = "https://pathlane.lab.example/fhir/job"
LIS = "https://lis.lab.example/fhir"
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
SNOMED = "http://snomed.info/sct"

Json = dict[str, Any]


def typed(code: str, value: str, system: str = "urn:lab") -> Json:
    return {"type": {"coding": [{"system": TYPES, "code": code}]}, "system": system, "value": value}


def snomed(code: str, display: str) -> Json:
    return {"coding": [{"system": SNOMED, "code": code, "display": display}]}


def ref(name: str) -> Json:
    return {"reference": name}


PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [
        {"system": "urn:insurer", "value": "INS-CANARY"},
        typed("MR", "MRN-CANARY", "urn:hospital"),
    ],
    "name": [
        {"use": "old", "family": "Maiden"},
        {"use": "official", "family": "Canary", "given": ["Zoë", "A"]},
    ],
    "birthDate": "1950-02-03",
    "gender": "female",
}
REQUEST = {
    "resourceType": "ServiceRequest",
    "id": "r1",
    "meta": {"versionId": "4", "lastUpdated": "2026-11-23T09:00:00Z"},
    "identifier": [typed("PLAC", "PL-1"), typed("FILL", "FI-1")],
    "status": "active",
    "intent": "order",
    "priority": "urgent",
    "code": snomed("726007", "Pathology consultation"),
    "subject": ref("Patient/p1"),
    "authoredOn": "2026-11-22T08:00:00+01:00",
    "specimen": [ref("Specimen/sample")],
}
SAMPLE = {
    "resourceType": "Specimen",
    "id": "sample",
    "identifier": [typed("FILL", "S26-0001-A")],
    "accessionIdentifier": {"system": "urn:lab", "value": "S26-0001"},
    "type": snomed("309134005", "Prostate tru-cut biopsy sample"),
    "collection": {"bodySite": snomed("716917000", "Right prostate")},
    "subject": ref("Patient/p1"),
}
BLOCK = {
    "resourceType": "Specimen",
    "id": "block",
    "identifier": [typed("FILL", "S26-0001-A1")],
    "type": snomed("1201985008", "Tissue block specimen"),
    "parent": [ref("Specimen/sample")],
}
SLIDE = {
    "resourceType": "Specimen",
    "id": "slide",
    "identifier": [typed("PLAC", "PL-1-A1"), typed("FILL", "S26-0001-A1-01")],
    "type": snomed("430856003", "Tissue section"),
    "container": [{"type": snomed("433466003", "Microscope slide")}],
    "parent": [ref("Specimen/block")],
    "processing": [
        {
            "procedure": snomed("104210008", "Hematoxylin and eosin stain method"),
            "additive": [ref("Substance/h")],
        }
    ],
}
HAEMATOXYLIN = {
    "resourceType": "Substance",
    "id": "h",
    "code": snomed("12710003", "Hematoxylin stain"),
}
STUDY = {
    "resourceType": "ImagingStudy",
    "id": "s1",
    "meta": {"versionId": "2", "lastUpdated": "2026-11-23T10:00:01Z"},
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4.5"}],
    "status": "available",
    "subject": ref("Patient/p1"),
    "started": "2026-11-23T09:55:00Z",
    "basedOn": [ref("ServiceRequest/r1")],
    "series": [
        {
            "uid": "1.2.3.4.6",
            "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "SM"},
            "specimen": [ref("Specimen/slide")],
            "started": "2026-11-23T09:56:00.1234567Z",
        }
    ],
}
TASK = {
    "resourceType": "Task",
    "id": "t1",
    "meta": {"versionId": "1"},
    "status": "requested",
    "intent": "order",
    "priority": "routine",
    "focus": ref("ServiceRequest/r1"),
    "for": ref("Patient/p1"),
    "owner": ref("Device/pathlane"),
    "authoredOn": "2026-11-23T10:00:00Z",
}
REPORT = {
    "resourceType": "DiagnosticReport",
    "id": "d1",
    "meta": {"versionId": "7"},
    "status": "final",
    "code": {"text": "Pathology report"},
    "basedOn": [ref("ServiceRequest/r1")],
    "specimen": [ref("Specimen/sample")],
    "issued": "2026-11-24T12:00:00Z",
    "conclusion": "Adenocarcinoma CANARY",
}
CASE = (PATIENT, REQUEST, SAMPLE, BLOCK, SLIDE, HAEMATOXYLIN)


def bundle(*resources: Json, kind: str = "searchset", base: str = LIS) -> Json:
    entries = [
        {"fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}", "resource": dict(resource)}
        for resource in resources
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


@pytest.fixture
def canaries():
    """Words of the case above that no error, repr or log may carry."""
    return ("anary", "CANARY", "S26-0001", "Prostate", "19500203", "1950-02-03", "urn:hospital", "PL-1")
