"""Against a FHIR server that was not written here: Medplum's router, repository and R4 definitions, over HTTP."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta

import pytest

from integrations.fhir import polling, terms
from integrations.fhir.delivery import attempt
from integrations.fhir.gathering import gathered
from integrations.fhir.orders import SIGNED_OUT, orders_of
from integrations.fhir.results import ABSENT_REASON, identifier_system, result_bundle
from integrations.fhir.subscription import subscription
from tests.builders import a_question, a_reading, an_order
from tests.unit.fhir.conftest import CASE, OURS, REQUEST, SENDER, STUDY, TASK
from worker.errors import FhirRejected
from worker.jobs.event import (
    Delivery,
    DeliveryStatus,
    Endpoint,
    EndpointStatus,
    EventType,
    Outcome,
    Payload,
)  # fmt: skip
from worker.jobs.order import Result, TriageClass, Verb
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BASE = "https://pathlane.lab.example"


def a_bundle(job_id="job_01A", supersedes=None, **reading):
    result = Result(
        job_id=job_id, order=an_order(study_uid="1.2.3.4", occurred_at=AT), question=a_question(),
        triage=TriageClass.URGENT, priority=Priority.URGENT, supersedes=supersedes, observed_at=AT,
    )  # fmt: skip
    return result_bundle(result, a_reading(**reading), at=AT, base=BASE)


def send(server, bundle):
    endpoint = Endpoint(
        id="ep_1", name="lis", url="fhir+http://x", status=EndpointStatus.ACTIVE, event_types=tuple(EventType),
        payload=Payload.THIN, secrets=(),
    )  # fmt: skip
    delivery = Delivery(
        id="msg_1",
        job_id="job_01A",
        endpoint=endpoint,
        event_type=EventType.JOB_SUCCEEDED,
        body=b"",
        attempt=1,
    )
    return attempt(delivery, bundle, server, now=AT, chance=0.5)


def all_of(server, kind, *parameters):
    return [
        entry["resource"]
        for page in server.search(kind, [*parameters, ("_count", "100")])
        for entry in page.get("entry", [])
    ]


KINDS = ("Device", "Observation", "DiagnosticReport", "Provenance")


def counts(server):
    return {kind: len(all_of(server, kind)) for kind in KINDS}


@pytest.mark.parametrize("outcome", list(ReadingOutcome))
def test_sent_twice_it_makes_one(medplum, outcome):
    bundle = a_bundle(outcome=outcome, supersedes="job_00Z")
    assert send(medplum, bundle) == Outcome(status=DeliveryStatus.DELIVERED, http_status=200)
    assert send(medplum, bundle).status is DeliveryStatus.DELIVERED
    assert counts(medplum) == dict.fromkeys(KINDS, 1)


def test_a_second_reading_by_the_same_model_shares_its_device(medplum):
    send(medplum, a_bundle())
    send(medplum, a_bundle(job_id="job_02B", supersedes="job_01A"))
    assert counts(medplum) == {"Device": 1, "Observation": 2, "DiagnosticReport": 2, "Provenance": 2}
    (device,) = all_of(medplum, "Device")
    for observation in all_of(medplum, "Observation"):
        assert observation["device"]["reference"] == f"Device/{device['id']}"


def test_what_the_server_keeps_is_linked_and_says_what_was_sent(medplum):
    send(medplum, a_bundle())
    (observation,) = all_of(
        medplum, "Observation", ("identifier", f"{identifier_system(BASE)}|job_01A-observation")
    )
    (report,), (provenance,) = all_of(medplum, "DiagnosticReport"), all_of(medplum, "Provenance")
    assert report["result"] == [{"reference": f"Observation/{observation['id']}"}]
    assert [target["reference"] for target in provenance["target"]] == [
        f"Observation/{observation['id']}",
        f"DiagnosticReport/{report['id']}",
    ]
    assert observation["valueCodeableConcept"]["text"] == "B. DAB"
    assert (observation["status"], report["status"]) == ("preliminary", "preliminary")


def test_the_label_finds_everything_an_ai_asserted(medplum):
    send(medplum, a_bundle())
    label = ("_security", f"{terms.OBSERVATION_VALUE}|{terms.AI_ASSERTED}")
    assert len(all_of(medplum, "Observation", label)) == len(all_of(medplum, "DiagnosticReport", label)) == 1


def test_a_bundle_that_breaks_r4_is_refused_by_the_server_and_set_aside(medplum):
    """The server does check: so what it took in the tests above, it took as valid."""
    bundle = copy.deepcopy(a_bundle())
    bundle["entry"][1]["resource"]["performer"] = "CANARY"
    outcome = send(medplum, bundle)
    assert outcome.status is DeliveryStatus.EXHAUSTED
    assert outcome.reason.startswith("rejected")
    assert counts(medplum)["Observation"] == 0


def test_a_conditional_create_alone_makes_one_too(medplum):
    resource = subscription(topic="https://lis.example/topic", endpoint="https://x.example/in", secret="s")
    device = {"resourceType": "Device", "identifier": [{"system": "urn:x", "value": "1"}]}
    first = medplum.create(device, if_none_exist="identifier=urn:x|1")
    assert medplum.create(device, if_none_exist="identifier=urn:x|1")["id"] == first["id"]
    assert medplum.create(resource)["criteria"] == "https://lis.example/topic"


def stored(server, *resources):
    """On the server, under ids of the server's own."""
    names = {}
    for resource in resources:
        text = json.dumps({key: value for key, value in resource.items() if key != "id"})
        for old, new in names.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        kept = server.create(json.loads(text))
        names[f"{resource['resourceType']}/{resource['id']}"] = f"{kept['resourceType']}/{kept['id']}"
    return names


def in_order():
    patient, request, sample, block, slide, substance = CASE
    return patient, substance, sample, block, slide, request, STUDY, TASK


def test_a_whole_case_is_gathered_from_the_name_of_its_study(medplum):
    """An id-only notification: everything else is read, step by step."""
    names = stored(medplum, *in_order())
    bundle = gathered(medplum, focus=[names["ImagingStudy/s1"]])
    orders = orders_of(bundle, sender=SENDER, ours=OURS).orders
    (order,) = [order for order in orders if order.verb is Verb.AVAILABLE]
    assert (order.accession, order.slide, order.block) == ("S26-0001", "S26-0001-A1-01", "S26-0001-A1")
    assert order.patient.family == "Canary"
    assert [stain.code for stain in order.stains] == ["104210008", "12710003"]


@pytest.mark.parametrize(
    "watch",
    [polling.tasks("Device/pathlane"), polling.requests(), polling.studies()],
    ids=lambda watch: watch.kind,
)
def test_polling_finds_the_case_and_its_image_whatever_is_watched(medplum, watch):
    """This server ignores `_include`: what is missing is read."""
    stored(medplum, *in_order())
    polled = polling.poll(medplum, watch, polling.Cursor(), sender=SENDER, ours=OURS)
    assert polled.heard.refusals == ()
    (order,) = [order for order in polled.heard.orders if order.verb is Verb.AVAILABLE]
    assert (order.accession, order.series_uid) == ("S26-0001", "1.2.3.4.6")
    assert order.priority is Priority.URGENT
    assert polled.cursor.since is not None


def test_polling_again_brings_what_is_new_and_the_overlap(medplum):
    stored(medplum, *in_order())
    first = polling.poll(medplum, polling.studies(), polling.Cursor(), sender=SENDER, ours=OURS)
    later = polling.Cursor(since=first.cursor.since + timedelta(days=1))
    assert polling.poll(medplum, polling.studies(), later, sender=SENDER, ours=OURS).heard.orders == ()
    again = polling.poll(medplum, polling.studies(), first.cursor, sender=SENDER, ours=OURS)
    assert [a.source for a in again.heard.announcements] == [a.source for a in first.heard.announcements]
    assert again.cursor == first.cursor


def test_our_own_report_on_the_server_closes_no_case(medplum):
    send(medplum, a_bundle())
    ours = identifier_system(BASE)
    polled = polling.poll(medplum, polling.reports(), polling.Cursor(), sender=SENDER, ours=ours)
    assert (polled.heard.orders, polled.heard.refusals) == ((), ())


def test_what_is_not_there_is_rejected_with_the_code_of_the_standard(medplum):
    with pytest.raises(FhirRejected) as rejected:
        medplum.read("Patient/00000000-0000-4000-8000-000000000000")
    assert (rejected.value.http_status, rejected.value.issues) == (404, ("not-found",))


# The value sets as HL7 published them with R4 (4.0.1).


@pytest.fixture(scope="module")
def code_systems(r4):
    found = {}
    for name in ("valuesets.json", "v3-codesystems.json", "v2-tables.json"):
        for entry in json.loads((r4 / name).read_text())["entry"]:
            if entry["resource"]["resourceType"] == "CodeSystem":
                found[entry["resource"]["url"]] = set(_codes(entry["resource"].get("concept", [])))
    return found


def _codes(concepts):
    for concept in concepts:
        yield concept["code"]
        yield from _codes(concept.get("concept", []))


@pytest.mark.parametrize(
    ("system", "codes"),
    [
        ("http://hl7.org/fhir/observation-status", {"preliminary"}),
        ("http://hl7.org/fhir/diagnostic-report-status", {"preliminary", *SIGNED_OUT}),
        ("http://hl7.org/fhir/provenance-entity-role", {"source", "derivation", "revision"}),
        ("http://hl7.org/fhir/device-nametype", {"model-name"}),
        (terms.PARTICIPANT, {"assembler"}),
        (terms.ABSENT, set(ABSENT_REASON.values())),
        (terms.OBSERVATION_CATEGORY, {"laboratory"}),
        (terms.SERVICE_SECTION, {"PAT"}),
        (terms.IDENTIFIER_TYPE, {"ACSN", "PLAC", "FILL", "MR"}),
        (terms.REQUEST_PRIORITY, {priority.value for priority in Priority} | {"asap"}),
        (terms.ACT_REASON, {"HTEST"}),
        ("http://hl7.org/fhir/issue-type", terms.ISSUE_TYPES),
        ("http://hl7.org/fhir/request-status", {"draft", "revoked", "entered-in-error"}),
        ("http://hl7.org/fhir/task-status", {"requested", "cancelled", "entered-in-error"}),
        ("http://hl7.org/fhir/imagingstudy-status", {"available", "cancelled", "entered-in-error"}),
    ],
)
def test_our_codes_are_those_of_r4(code_systems, system, codes):
    if system not in code_systems:
        pytest.skip(f"{system} is not in this copy of R4")
    assert codes <= code_systems[system]


def test_the_request_above_is_what_r4_calls_valid(medplum):
    """So that what the reader is tested with is FHIR."""
    stored(medplum, *in_order())
    assert all_of(medplum, "ServiceRequest")[0]["priority"] == REQUEST["priority"]
