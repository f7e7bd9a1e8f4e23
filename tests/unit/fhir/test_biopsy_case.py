"""The complete biopsy case of the MII pathology module: one core, one block, an H&E and a p63 slide, a report."""

from __future__ import annotations

import json

import pytest

from integrations.fhir.orders import orders_of
from tests.unit.fhir.conftest import OURS, SENDER, ref
from worker.jobs.order import Code, Verb
from worker.jobs.request import Priority

ACCESSION = "E12345_21"


@pytest.fixture(scope="session")
def biopsy(shared_data):
    files = sorted((shared_data / "fhir" / "mii_patho_prostate_biopsy").glob("*.json"))
    assert len(files) == 28
    return [json.loads(file.read_text()) for file in files]


def heard(resources, *more):
    entries = [{"resource": resource} for resource in (*resources, *more)]
    return orders_of(
        {"resourceType": "Bundle", "type": "collection", "entry": entries}, sender=SENDER, ours=OURS
    )


def a_study(slide: str):
    return {
        "resourceType": "ImagingStudy",
        "id": f"study-{slide}",
        "status": "available",
        "subject": ref("Patient/12345"),
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.276.1"}],
        "basedOn": [ref("ServiceRequest/mii-exa-patho-request")],
        "series": [
            {
                "uid": "1.2.276.1.1",
                "modality": {"code": "SM"},
                "specimen": [ref(f"Specimen/mii-exa-patho-prostate-biopsy-schnitt-{slide}")],
            }
        ],
    }


def unreported(resources):
    return [resource for resource in resources if resource["resourceType"] != "DiagnosticReport"]


def test_both_slides_are_registered_and_the_report_closes_the_case(biopsy):
    result = heard(biopsy)
    assert result.refusals == ()
    assert [(order.verb, order.accession, order.slide) for order in result.orders] == [
        (Verb.REGISTERED, ACCESSION, "E12345_21-A1-HE"),
        (Verb.REGISTERED, ACCESSION, "E12345_21-A1-p63"),
        (Verb.CLOSED, ACCESSION, ""),
    ]
    assert {order.block for order in result.orders[:2]} == {"E12345_21-A1"}


def test_the_report_s_own_accession_identifier_is_not_the_case_s(biopsy):
    (report,) = [r for r in biopsy if r["resourceType"] == "DiagnosticReport"]
    assert report["identifier"][0]["value"] == "E21.12345"
    (closed,) = [order for order in heard(biopsy).orders if order.verb is Verb.CLOSED]
    assert closed.accession == ACCESSION
    assert "ISUP-Gradgruppe 1" in closed.final_report
    assert closed.occurred_at is None  # 2021-06-01 names a day, not a point in time


@pytest.mark.parametrize(
    ("slide", "stains"),
    [
        ("HE", ["104210008", "12710003", "763042003"]),
        ("p63", ["13269000"]),  # its additive names a Substance by an id that none of the case has
    ],
)
def test_the_scan_of_a_slide_is_run_with_what_the_case_says_of_it(biopsy, slide, stains):
    result = heard(unreported(biopsy), a_study(slide))
    (order,) = [order for order in result.orders if order.verb is Verb.AVAILABLE]
    assert (order.accession, order.slide) == (ACCESSION, f"E12345_21-A1-{slide}")
    assert [stain.code for stain in order.stains] == stains
    assert order.specimen_type == Code(code="309134005", text="Prostate tru-cut biopsy sample", system="SCT")
    assert order.body_site.code == "716917000"
    assert order.placer_order == "KHXX_ENDO_18.123451"
    assert order.priority is Priority.ROUTINE
    assert order.patient is None  # Patient/12345 is not among the 28 resources


def test_a_scan_that_comes_with_the_signed_out_case_is_not_run(biopsy):
    assert Verb.AVAILABLE not in {order.verb for order in heard(biopsy, a_study("HE")).orders}


def test_a_scan_alone_is_refused_until_its_case_is_known():
    assert {refusal.detail for refusal in heard([a_study("HE")]).refusals} == {
        "ImagingStudy.basedOn leads to what is not here."
    }
