"""What resources say: each status becomes its verb, each reference is followed, nothing is guessed."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.fhir.orders import orders_of
from tests.unit.fhir.conftest import (
    BLOCK,
    CASE,
    HAEMATOXYLIN,
    LIS,
    OURS,
    PATIENT,
    REPORT,
    REQUEST,
    SAMPLE,
    SENDER,
    SLIDE,
    STUDY,
    TASK,
    bundle,
    ref,
    typed,
)  # fmt: skip
from worker.errors import FhirOrderRefused, FhirUnreadable, PathlaneError
from worker.jobs.order import Code, Verb
from worker.jobs.request import Priority


def heard(*resources, **changes):
    return orders_of(bundle(*resources, **changes), sender=SENDER, ours=OURS)


def the_order(*resources):
    (order,) = heard(*resources).orders
    return order


def only(orders, verb):
    return [order for order in orders if order.verb is verb]


def test_an_available_study_says_everything_that_is_known_of_its_slide():
    (order,) = only(heard(*CASE, STUDY).orders, Verb.AVAILABLE)
    assert (order.accession, order.slide, order.block) == ("S26-0001", "S26-0001-A1-01", "S26-0001-A1")
    assert (order.study_uid, order.series_uid) == ("1.2.3.4.5", "1.2.3.4.6")
    assert (order.placer_order, order.filler_order) == ("PL-1", "FI-1")
    assert order.procedure == Code(code="726007", text="Pathology consultation", system="SCT")
    assert order.specimen_type == Code(code="309134005", text="Prostate tru-cut biopsy sample", system="SCT")
    assert order.body_site == Code(code="716917000", text="Right prostate", system="SCT")
    assert [stain.code for stain in order.stains] == ["104210008", "12710003"]
    assert order.occurred_at == datetime(2026, 11, 23, 9, 56, 0, 123456, tzinfo=UTC)
    assert order.sender == SENDER
    assert not order.is_test


def test_the_patient_is_the_medical_record_number_with_the_name_in_use():
    patient = only(heard(*CASE, STUDY).orders, Verb.AVAILABLE)[0].patient
    assert (patient.id, patient.authority) == ("MRN-CANARY", "urn:hospital")
    assert (patient.family, patient.given) == ("Canary", "Zoë A")
    assert (patient.birth_date, patient.sex) == ("19500203", "F")


@pytest.mark.parametrize(
    ("said", "priority"),
    [
        ("stat", Priority.STAT),
        ("asap", Priority.URGENT),
        ("urgent", Priority.URGENT),
        ("routine", Priority.ROUTINE),
        ("bogus", Priority.ROUTINE),
        (None, Priority.ROUTINE),  # R4: "If missing, this request should be treated as routine"
    ],
)
def test_the_four_priorities_of_fhir_become_three(said, priority):
    request = {key: value for key, value in REQUEST.items() if key != "priority"}
    request |= {"priority": said} if said else {}
    assert {order.priority for order in heard(*CASE[2:], PATIENT, request, STUDY).orders} == {priority}


def test_of_a_request_and_a_task_for_it_the_more_urgent_priority_counts():
    orders = heard(*CASE, TASK | {"priority": "stat"}, STUDY).orders
    assert {order.priority for order in orders} == {Priority.STAT}


def test_a_task_that_is_over_raises_no_priority():
    done = TASK | {"priority": "stat", "status": "completed"}
    assert {order.priority for order in heard(*CASE, done, STUDY).orders} == {Priority.URGENT}


@pytest.mark.parametrize(
    ("status", "verb"),
    [
        ("registered", Verb.REGISTERED),
        ("available", Verb.AVAILABLE),
        ("cancelled", Verb.WITHDRAWN),
        ("entered-in-error", Verb.WITHDRAWN),
        ("unknown", Verb.REGISTERED),
        ("bogus", Verb.REGISTERED),
    ],
)
def test_the_status_of_a_study_says_which_verb(status, verb):
    orders = [order for order in heard(*CASE, STUDY | {"status": status}).orders if order.series_uid]
    assert [order.verb for order in orders] == [verb]


@pytest.mark.parametrize(
    ("status", "verb"),
    [
        ("active", Verb.REGISTERED),
        ("on-hold", Verb.REGISTERED),
        ("completed", Verb.REGISTERED),
        ("unknown", Verb.REGISTERED),
        ("revoked", Verb.WITHDRAWN),
        ("entered-in-error", Verb.WITHDRAWN),
    ],
)
def test_the_status_of_a_request_says_which_verb(status, verb):
    order = the_order(*CASE[2:], PATIENT, REQUEST | {"status": status})
    assert (order.verb, order.slide) == (verb, "S26-0001-A1-01")


def test_a_draft_is_no_request_yet():
    assert heard(*CASE[2:], REQUEST | {"status": "draft"}).orders == ()


@pytest.mark.parametrize(
    ("status", "verb"),
    [
        ("requested", Verb.REGISTERED),
        ("in-progress", Verb.REGISTERED),
        ("cancelled", Verb.WITHDRAWN),
        ("entered-in-error", Verb.WITHDRAWN),
    ],
)
def test_the_status_of_a_task_says_which_verb(status, verb):
    announcements = heard(*CASE, TASK | {"status": status}).announcements
    (task,) = [announcement for announcement in announcements if announcement.source.startswith("Task/")]
    assert [order.verb for order in task.orders] == [verb]


@pytest.mark.parametrize("status", ["draft", "rejected", "failed", "completed", "bogus"])
def test_what_a_performer_says_of_a_task_is_no_order(status):
    assert not [a for a in heard(*CASE, TASK | {"status": status}).announcements if "Task/" in a.source]


def test_a_task_with_an_image_of_its_own_is_run_without_a_study():
    images = [
        {"type": {"text": "image"}, "valueUrl": "https://images.example/1"},
        {"type": {"text": "image"}, "valueAttachment": {"url": "https://images.example/2"}},
        {"type": {"text": "image"}, "valueUrl": "file:///etc/passwd"},
    ]
    (order,) = only(heard(*CASE, TASK | {"input": images}).orders, Verb.AVAILABLE)
    assert order.images == ("https://images.example/1", "https://images.example/2")


@pytest.mark.parametrize("status", ["revoked", "entered-in-error"])
def test_the_image_of_a_revoked_request_is_not_run(status):
    assert not only(heard(*CASE[2:], REQUEST | {"status": status}, STUDY).orders, Verb.AVAILABLE)


def test_the_image_of_a_cancelled_task_is_not_run_while_no_other_task_asks_for_it():
    cancelled = TASK | {"status": "cancelled"}
    assert not only(heard(*CASE, cancelled, STUDY).orders, Verb.AVAILABLE)
    assert only(heard(*CASE, cancelled, TASK | {"id": "t2"}, STUDY).orders, Verb.AVAILABLE)


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended"])
def test_a_signed_out_report_closes_the_case_with_its_conclusion(status):
    (order,) = only(heard(*CASE, REPORT | {"status": status}).orders, Verb.CLOSED)
    assert (order.accession, order.slide) == ("S26-0001", "")
    assert order.final_report == "Adenocarcinoma CANARY"
    assert order.occurred_at == datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", ["registered", "partial", "preliminary", "cancelled", "entered-in-error"])
def test_a_report_that_is_not_signed_out_closes_nothing(status):
    assert not only(heard(*CASE, REPORT | {"status": status}).orders, Verb.CLOSED)


def test_our_own_report_closes_nothing():
    own = REPORT | {"identifier": [{"system": OURS, "value": "job_1-report"}]}
    assert not only(heard(*CASE, own).orders, Verb.CLOSED)


def test_an_image_of_a_case_that_is_signed_out_in_the_same_bundle_is_not_run():
    assert [order.verb for order in heard(*CASE, STUDY, REPORT).orders] == [Verb.REGISTERED, Verb.CLOSED]


def test_each_slide_microscopy_series_is_an_order_of_its_own_and_other_modalities_are_none():
    other = deepcopy(STUDY["series"][0]) | {"uid": "1.2.3.4.7", "specimen": []}
    photograph = {"uid": "1.2.3.4.8", "modality": {"code": "XC"}}
    study = STUDY | {"series": [*STUDY["series"], other, photograph]}
    orders = only(heard(*CASE, study).orders, Verb.AVAILABLE)
    assert [(order.series_uid, order.slide) for order in orders] == [
        ("1.2.3.4.6", "S26-0001-A1-01"),
        ("1.2.3.4.7", ""),
    ]


def test_a_study_of_another_modality_is_left_alone():
    study = STUDY | {"series": [{"uid": "1.2", "modality": {"code": "CT"}}], "modality": [{"code": "CT"}]}
    assert [a.source for a in heard(*CASE, study).announcements] == ["ServiceRequest/r1/_history/4"]


def test_a_study_that_lists_no_series_is_told_by_its_own_modality():
    study = {key: value for key, value in STUDY.items() if key != "series"} | {"modality": [{"code": "SM"}]}
    (order,) = only(heard(*CASE, study).orders, Verb.AVAILABLE)
    assert (order.study_uid, order.series_uid, order.accession) == ("1.2.3.4.5", "", "S26-0001")


def test_every_slide_cut_from_what_was_ordered_is_registered():
    second = SLIDE | {"id": "slide2", "identifier": [typed("FILL", "S26-0001-A1-02")]}
    orders = heard(*CASE, second).orders
    assert {(order.verb, order.slide) for order in orders} == {
        (Verb.REGISTERED, "S26-0001-A1-01"),
        (Verb.REGISTERED, "S26-0001-A1-02"),
    }


def test_a_sample_whose_slides_are_not_known_yet_is_a_case_and_not_a_slide():
    order = the_order(PATIENT, REQUEST, SAMPLE)
    assert (order.accession, order.slide, order.block) == ("S26-0001", "", "")


def test_a_task_may_stand_between_a_study_and_its_request():
    study = STUDY | {"basedOn": [ref("Task/t1")]}
    (order,) = only(heard(*CASE, TASK, study).orders, Verb.AVAILABLE)
    assert order.placer_order == "PL-1"


def test_a_study_without_a_request_is_run_at_routine_priority():
    study = {key: value for key, value in STUDY.items() if key != "basedOn"}
    (order,) = only(heard(*CASE, study).orders, Verb.AVAILABLE)
    assert (order.accession, order.placer_order, order.priority) == ("S26-0001", "", Priority.ROUTINE)


def test_a_specimen_that_is_named_by_its_number_alone_will_do():
    series = STUDY["series"][0] | {"specimen": [{"identifier": {"value": "S26-0001-A1-09"}}]}
    (order,) = only(heard(*CASE, STUDY | {"series": [series]}).orders, Verb.AVAILABLE)
    assert (order.slide, order.accession) == ("S26-0001-A1-09", "S26-0001")


def test_a_patient_whom_the_server_does_not_show_is_no_reason_to_refuse():
    (order,) = only(heard(*CASE[1:], STUDY).orders, Verb.AVAILABLE)
    assert order.patient is None


def test_a_patient_who_is_named_by_a_number_alone_is_that_number():
    subject = {"identifier": {"system": "urn:hospital", "value": "MRN-9"}}
    (order,) = only(heard(*CASE[2:], REQUEST | {"subject": subject}, STUDY).orders, Verb.AVAILABLE)
    assert (order.patient.id, order.patient.authority, order.patient.family) == ("MRN-9", "urn:hospital", "")


@pytest.mark.parametrize("which", [REQUEST, STUDY])
def test_what_is_labelled_as_test_data_is_a_test(which):
    label = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}]}
    resources = [r | {"meta": r.get("meta", {}) | label} if r is which else r for r in (*CASE, STUDY)]
    assert all(order.is_test for order in only(heard(*resources).orders, Verb.AVAILABLE))


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        # what the study was ordered with is not here: the case might be STAT
        ((PATIENT, SAMPLE, BLOCK, SLIDE, STUDY), "ImagingStudy.basedOn leads to what is not here."),
        ((PATIENT, REQUEST, SAMPLE, STUDY), "ImagingStudy.series.specimen leads to what is not here."),
        ((PATIENT, REQUEST), "ServiceRequest.specimen leads to what is not here."),
        ((PATIENT, TASK), "Task.focus leads to what is not here."),
        ((TASK | {"focus": {}},), "Task.focus leads to what is not here."),
        ((REPORT,), "DiagnosticReport.specimen leads to what is not here."),
        ((REPORT | {"specimen": [], "basedOn": []},), "DiagnosticReport leads to no accession number."),
        ((REQUEST | {"specimen": [], "identifier": []},), "ServiceRequest leads to no accession number."),
        ((PATIENT, TASK | {"focus": ref("Patient/p1")}), "Task.focus names no ServiceRequest."),
    ],
)
def test_what_is_missing_is_refused_in_a_sentence_that_quotes_nothing(resources, sentence, canaries):
    refusals = heard(*resources).refusals
    assert refusals
    assert sentence in {refusal.detail for refusal in refusals}
    assert not any(canary in f"{refusal!r} {refusal}" for canary in canaries for refusal in refusals)


def test_one_refusal_does_not_take_the_others_with_it():
    result = heard(*CASE, STUDY, TASK | {"focus": ref("ServiceRequest/gone")})
    assert only(result.orders, Verb.AVAILABLE)
    assert len(result.refusals) == 1


def test_an_announcement_is_known_by_the_version_of_its_resource():
    sources = [announcement.source for announcement in heard(*CASE, STUDY).announcements]
    assert sources == ["ServiceRequest/r1/_history/4", "ImagingStudy/s1/_history/2"]
    announcement = heard(*CASE, STUDY).announcements[1]
    assert json.loads(announcement.raw) == STUDY


def test_of_several_versions_of_a_resource_the_newest_speaks():
    newer = STUDY | {
        "status": "cancelled",
        "meta": {"versionId": "3", "lastUpdated": "2026-11-23T11:00:01+00:30"},
    }
    for versions in ((STUDY, newer), (newer, STUDY)):
        orders = heard(*CASE, *versions, kind="history").orders
        assert [order.verb for order in orders if order.series_uid] == [Verb.WITHDRAWN]


def test_a_deletion_in_a_history_says_nothing():
    history = bundle(*CASE, kind="history")
    history["entry"].append(
        {"fullUrl": f"{LIS}/ImagingStudy/s1", "request": {"method": "DELETE", "url": "x"}}
    )
    assert {order.verb for order in orders_of(history, sender=SENDER, ours=OURS).orders} == {Verb.REGISTERED}


def test_references_by_urn_lead_to_entries_of_the_bundle():
    urns = {f"{r['resourceType']}/{r['id']}": f"urn:uuid:00000000-0000-4000-8000-{n:012d}"
            for n, r in enumerate((*CASE, STUDY))}  # fmt: skip
    written = json.dumps(bundle(*CASE, STUDY))
    for name, urn in urns.items():
        written = written.replace(f'"{LIS}/{name}"', f'"{urn}"').replace(f'"{name}"', f'"{urn}"')
    (order,) = only(orders_of(json.loads(written), sender=SENDER, ours=OURS).orders, Verb.AVAILABLE)
    assert (order.slide, order.block, order.placer_order) == ("S26-0001-A1-01", "S26-0001-A1", "PL-1")
    assert order.patient.family == "Canary"


@pytest.mark.parametrize("name", [f"{LIS}/ServiceRequest/r1", "ServiceRequest/r1/_history/3"])
def test_references_may_be_absolute_or_to_a_version(name):
    assert only(heard(*CASE, STUDY | {"basedOn": [ref(name)]}).orders, Verb.AVAILABLE)


def test_a_reference_to_the_same_id_on_another_server_leads_nowhere():
    study = STUDY | {"basedOn": [ref("https://other.example/fhir/ServiceRequest/r1")]}
    assert not only(heard(*CASE, study).orders, Verb.AVAILABLE)


def test_relative_references_stay_on_their_server():
    """Two servers' resources in one bundle, with the same ids: each reads its own."""
    other = bundle(*CASE[2:], REQUEST | {"priority": "stat"}, STUDY, base="https://other.example/fhir")
    both = orders_of(bundle(*CASE, STUDY), other, sender=SENDER, ours=OURS)
    available = only(both.orders, Verb.AVAILABLE)
    assert [order.priority for order in available] == [Priority.URGENT, Priority.STAT]


def test_contained_resources_are_found():
    study = STUDY | {"contained": [REQUEST | {"id": "inside"}], "basedOn": [ref("#inside")]}
    (order,) = only(heard(PATIENT, SAMPLE, BLOCK, SLIDE, study).orders, Verb.AVAILABLE)
    assert order.placer_order == "PL-1"


def test_specimens_that_are_their_own_parents_end_somewhere():
    circle = [SAMPLE | {"parent": [ref("Specimen/slide")], "accessionIdentifier": {}}, BLOCK, SLIDE]
    assert heard(PATIENT, REQUEST, *circle, STUDY).refusals == ()  # the request's FILL identifier is left


@pytest.mark.parametrize("junk", [None, [], "", 7, {}, {"resourceType": None}, {"resourceType": ["Bundle"]}])
def test_what_is_no_resource_is_refused(junk):
    with pytest.raises(FhirUnreadable):
        orders_of(junk, sender=SENDER, ours=OURS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
def test_whatever_stands_in_an_element_there_are_orders_or_refusals(data):
    """Any element of any resource of the case replaced by any JSON: nothing else is ever raised."""
    resources = deepcopy([*CASE, STUDY, TASK, REPORT])
    for _ in range(data.draw(st.integers(1, 3))):
        resource = data.draw(st.sampled_from(resources))
        name = data.draw(st.sampled_from([key for key in resource if key != "id"]))
        resource[name] = data.draw(JSON)
    try:
        result = heard(*resources)
    except PathlaneError as error:
        assert isinstance(error, FhirUnreadable)
    else:
        assert all(isinstance(refusal, FhirOrderRefused) for refusal in result.refusals)


def test_nothing_of_the_case_is_in_a_repr(canaries):
    result = heard(*CASE, STUDY, REPORT)
    shown = repr(result) + repr(result.announcements) + repr(result.orders) + repr(HAEMATOXYLIN["id"])
    assert not any(canary in shown for canary in canaries)


def test_what_no_database_takes_is_replaced():
    sample = SAMPLE | {"accessionIdentifier": {"value": "S26\x00-\ud8001"}}
    result = heard(PATIENT | {"name": [{"given": ["Z\x00"]}]}, REQUEST, sample, BLOCK, SLIDE, STUDY)
    order = only(result.orders, Verb.AVAILABLE)[0]
    assert order.accession == "S26\N{REPLACEMENT CHARACTER}-\N{REPLACEMENT CHARACTER}1"
    assert order.patient.given == "Z\N{REPLACEMENT CHARACTER}"
    heard(PATIENT, REQUEST | {"note": "\ud800"}, SAMPLE)  # can be kept as bytes


def test_a_resource_that_is_nested_too_deeply_is_refused():
    deep = REPORT
    for _ in range(5000):
        deep = {"extension": deep}
    (refusal,) = heard(*CASE, REPORT | {"extension": deep}).refusals
    assert refusal.detail == "It is nested too deeply."
