"""The transaction: its shape by fhir.resources (R4B, shape only), its codes by a table taken from R4 itself."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from fhir.resources.R4B.bundle import Bundle

from integrations.fhir.orders import orders_of
from integrations.fhir.results import identifier_system, result_bundle
from tests.builders import a_question, a_reading, an_order
from tests.unit.fhir.conftest import SENDER
from worker.jobs.order import Patient, Result, TriageClass
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority

BASE = "https://pathlane.lab.example/"
ROOT = "https://pathlane.lab.example/fhir"
AT = datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC)


def a_result(**fields):
    order = fields.pop("order", None) or an_order(
        study_uid="1.2.3.4", block="S26-0001-A", placer_order="PL-1",
        occurred_at=datetime(2026, 11, 23, 9, 55, tzinfo=UTC),
    )  # fmt: skip
    values = {
        "job_id": "job_01A", "order": order, "question": a_question(), "triage": TriageClass.URGENT,
        "priority": Priority.URGENT, "supersedes": None, "observed_at": AT,
    }  # fmt: skip
    return Result(**values | fields)


def made(result=None, reading=None, base=BASE):
    return result_bundle(
        result or a_result(), reading or a_reading(), at=AT + timedelta(seconds=9), base=base
    )


def part(bundle, kind):
    (resource,) = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]
    return resource


EVERY_OUTCOME = [
    a_reading(outcome=outcome, answer="B. DAB" if outcome is ReadingOutcome.ANSWERED else "", choice=None)
    for outcome in ReadingOutcome
]


@pytest.mark.parametrize("reading", EVERY_OUTCOME, ids=lambda reading: reading.outcome)
@pytest.mark.parametrize("order", [an_order(), an_order(slide="", accession="", patient=None, series_uid="")])
def test_every_bundle_has_the_shape_of_r4b(reading, order):
    """Shape only: fhir.resources has no value sets and would take a status `bogus`."""
    bundle = made(a_result(order=order, supersedes="job_00Z"), reading)
    Bundle.model_validate_json(json.dumps(bundle))


#: element -> codes that R4 (4.0.1) allows there, from the pages of its value sets
REQUIRED = {
    ("Observation", "status"): {"registered", "preliminary", "final", "amended", "corrected", "cancelled",
                                "entered-in-error", "unknown"},
    ("DiagnosticReport", "status"): {"registered", "partial", "preliminary", "final", "amended", "corrected",
                                     "appended", "cancelled", "entered-in-error", "unknown"},
}  # fmt: skip
ENTITY_ROLES = {"derivation", "revision", "quotation", "source", "removal"}
NAME_TYPES = {
    "udi-label-name",
    "user-friendly-name",
    "patient-reported-name",
    "manufacturer-name",
    "model-name",
    "other",
}
ABSENT_REASONS = {"unknown", "asked-unknown", "temp-unknown", "not-asked", "asked-declined", "masked",
                  "not-applicable", "unsupported", "as-text", "error", "not-a-number", "negative-infinity",
                  "positive-infinity", "not-performed", "not-permitted"}  # fmt: skip


@pytest.mark.parametrize("reading", EVERY_OUTCOME, ids=lambda reading: reading.outcome)
def test_every_code_with_a_required_binding_is_in_its_value_set(reading):
    bundle = made(a_result(supersedes="job_00Z"), reading)
    assert bundle["type"] == "transaction"
    for (kind, element), allowed in REQUIRED.items():
        assert part(bundle, kind)[element] in allowed
    assert {entity["role"] for entity in part(bundle, "Provenance")["entity"]} <= ENTITY_ROLES
    assert {name["type"] for name in part(bundle, "Device")["deviceName"]} <= NAME_TYPES
    absent = part(bundle, "Observation").get("dataAbsentReason", {"coding": []})
    assert {coding["code"] for coding in absent["coding"]} <= ABSENT_REASONS
    assert {entry["request"]["method"] for entry in bundle["entry"]} == {"POST"}


@pytest.mark.parametrize("kind", ["Observation", "DiagnosticReport"])
def test_what_is_said_is_preliminary_and_labelled_as_asserted_by_an_ai(kind):
    resource = part(made(), kind)
    assert resource["status"] == "preliminary"
    (label,) = resource["meta"]["security"]
    assert label["system"] == "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
    assert label["code"] == "AIAST"


def test_a_device_is_never_a_performer():
    bundle = made()
    observation, report = part(bundle, "Observation"), part(bundle, "DiagnosticReport")
    assert observation["device"] == {"reference": bundle["entry"][0]["fullUrl"]}
    assert not {"performer", "resultsInterpreter"} & (observation.keys() | report.keys())


def test_the_answer_is_the_option_that_was_chosen_with_its_reasoning_beside_it():
    observation = part(made(), "Observation")
    assert observation["valueCodeableConcept"] == {
        "text": "B. DAB",
        "coding": [
            {
                "system": f"{ROOT}/question/stain-check/1/stain",
                "code": "B",
                "display": "Immunohistochemistry with DAB",
            }
        ],
    }
    assert observation["code"]["text"] == "Which stain is shown?"
    assert observation["code"]["coding"] == [{"system": f"{ROOT}/question", "code": "stain-check/1/stain"}]
    notes = [note["text"] for note in observation["note"]]
    assert notes[0] == "AI draft, not reviewed."
    assert notes[1] == "Brown chromogen."
    assert "not a medical statement" in notes[2]


def test_an_open_answer_is_text_alone():
    observation = part(made(a_result(question=a_question(options=())), a_reading(choice=None)), "Observation")
    assert observation["valueCodeableConcept"] == {"text": "B. DAB"}


def test_triage_and_the_priority_after_it_are_components():
    components = part(made(), "Observation")["component"]
    triage, priority = (component["valueCodeableConcept"]["coding"][0] for component in components)
    assert (triage["system"], triage["code"]) == (f"{ROOT}/triage", "urgent")
    assert (priority["system"], priority["code"]) == ("http://hl7.org/fhir/request-priority", "urgent")


@pytest.mark.parametrize("reading", EVERY_OUTCOME[1:], ids=lambda reading: reading.outcome)
def test_without_an_answer_there_is_a_reason_and_no_reasoning(reading):
    bundle = made(reading=reading)
    observation = part(bundle, "Observation")
    assert "valueCodeableConcept" not in observation  # R4, obs-6
    assert observation["dataAbsentReason"]["text"] == reading.outcome.value
    assert "Brown chromogen" not in json.dumps(bundle)
    assert part(bundle, "DiagnosticReport")["conclusion"] == (
        f"AI draft, not reviewed. No answer ({reading.outcome.value})."
    )


def test_what_the_order_names_is_referred_to_by_its_numbers():
    bundle = made()
    observation, report = part(bundle, "Observation"), part(bundle, "DiagnosticReport")
    numbers = [request["identifier"]["value"] for request in observation["basedOn"]]
    assert numbers == ["PL-1", "S26-0001"]
    assert observation["specimen"]["identifier"]["value"] == "S26-0001-A1"
    assert observation["subject"]["identifier"]["value"] == "123"
    assert observation["subject"]["identifier"]["assigner"] == {"display": "HIS"}
    study = {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}}
    assert observation["derivedFrom"] == report["imagingStudy"] == [study]
    assert observation["effectiveDateTime"] == report["effectiveDateTime"] == "2026-11-23T09:55:00+00:00"
    assert report["result"] == [{"reference": bundle["entry"][1]["fullUrl"]}]
    assert report["code"]["coding"][0]["code"] == "60567-5"
    assert report["conclusion"] == "AI draft, not reviewed. B. DAB"
    assert "presentedForm" not in report


@pytest.mark.parametrize(
    ("authority", "known"),
    [
        ("urn:hospital", {"system": "urn:hospital"}),
        ("https://hospital.example/mrn", {"system": "https://hospital.example/mrn"}),
        ("HIS&1.2.3&ISO", {"system": "urn:oid:1.2.3"}),
        ("HIS&his.example&DNS", {"assigner": {"display": "HIS"}}),
        ("HIS", {"assigner": {"display": "HIS"}}),
        ("", {}),
    ],
)
def test_the_authority_of_a_patient_number_is_a_system_where_it_is_one(authority, known):
    order = an_order(patient=Patient(id="123", authority=authority))
    identifier = part(made(a_result(order=order)), "Observation")["subject"]["identifier"]
    assert {key: value for key, value in identifier.items() if key not in ("type", "value")} == known


def test_names_of_patients_are_not_sent():
    assert "MÜLLER" not in json.dumps(made(), ensure_ascii=False)


def test_a_time_without_a_zone_is_told_as_a_day():
    order = an_order(occurred_at=datetime(2026, 11, 23, 9, 55))  # noqa: DTZ001
    assert part(made(a_result(order=order)), "Observation")["effectiveDateTime"] == "2026-11-23"


def test_the_model_is_the_agent_and_image_and_prompt_are_what_it_used():
    bundle = made()
    provenance = part(bundle, "Provenance")
    (agent,) = provenance["agent"]
    assert agent["who"] == {"reference": bundle["entry"][0]["fullUrl"]}
    assert agent["type"]["coding"][0]["code"] == "assembler"
    assert [target["reference"] for target in provenance["target"]] == [
        entry["fullUrl"] for entry in bundle["entry"][1:3]
    ]
    used = [(entity["role"], entity["what"]["identifier"]["value"]) for entity in provenance["entity"]]
    assert used == [
        ("source", "urn:oid:1.2.3.4"),
        ("source", "urn:oid:1.2.3"),
        ("source", "sha256:aa"),
        ("derivation", "1"),
    ]
    assert provenance["recorded"] == "2026-11-23T12:00:14.000Z"
    assert part(bundle, "Device")["version"][0]["value"] == "sha256:cc"


def test_a_newer_reading_says_which_one_it_replaces():
    bundle = made(a_result(supersedes="job_00Z"))
    revised = [e for e in part(bundle, "Provenance")["entity"] if e["role"] == "revision"]
    assert [entity["what"]["identifier"] for entity in revised] == [
        {"system": identifier_system(BASE), "value": "job_00Z-observation"}
    ]
    assert "replaces an earlier AI draft" in part(bundle, "DiagnosticReport")["conclusion"]
    assert not [e for e in part(made(), "Provenance")["entity"] if e["role"] == "revision"]


def test_each_resource_is_created_under_a_name_that_stays_the_same():
    first, second = made(), result_bundle(a_result(), a_reading(), at=AT + timedelta(days=1), base=BASE)
    conditions = [entry["request"]["ifNoneExist"] for entry in first["entry"]]
    assert conditions == [
        f"identifier={ROOT}/model|sha256:cc",
        f"identifier={ROOT}/job|job_01A-observation",
        f"identifier={ROOT}/job|job_01A-report",
        f"_tag={ROOT}/job|job_01A-provenance",
    ]
    assert [entry["request"]["ifNoneExist"] for entry in second["entry"]] == conditions
    assert [entry["fullUrl"] for entry in second["entry"]] == [entry["fullUrl"] for entry in first["entry"]]
    for entry, condition in zip(first["entry"], conditions, strict=True):
        where, _, name = condition.partition("=")
        resource = entry["resource"]
        named = resource["meta"]["tag"] if where == "_tag" else resource["identifier"]
        assert name in {f"{n['system']}|{n.get('value', n.get('code'))}" for n in named}


def test_results_of_test_orders_say_so():
    order = replace(an_order(), is_test=True)
    labels = part(made(a_result(order=order)), "Observation")["meta"]["security"]
    assert [label["code"] for label in labels] == ["AIAST", "HTEST"]


def test_what_fhir_cannot_write_is_replaced():
    reading = a_reading(reasoning="a\x00b\ud800c\x0bd", answer="B.\x1b DAB")
    bundle = made(reading=reading)
    json.dumps(bundle, ensure_ascii=False).encode()
    assert part(bundle, "Observation")["note"][1]["text"] == "a�b�c�d"


def test_times_are_told_in_utc():
    late = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert part(made(a_result(observed_at=late)), "Observation")["issued"] == "2026-11-23T12:00:05.000Z"


def test_our_own_report_signed_out_or_not_closes_no_case():
    report = part(made(), "DiagnosticReport") | {"status": "final", "id": "1"}
    assert orders_of(report, sender=SENDER, ours=identifier_system(BASE)).orders == ()
    assert orders_of(report, sender=SENDER, ours="urn:other").refusals
