"""What a STOW-RS answer comes to, from a server that answers as a test tells it."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from email import message_from_bytes

import httpx
import pydicom
import pytest

from integrations.dicom import stow
from integrations.dicom.endpoint import DicomWeb
from integrations.dicom.header import read_evidence
from integrations.dicom.results import report_uid, structured_report
from tests.unit.dicom.objects import a_delivery, a_file, a_reading_of, a_result, a_slide
from worker.jobs.event import DeliveryStatus

OURS = report_uid("job_01")


@pytest.fixture(scope="module")
def report():
    return structured_report(a_result(), a_reading_of(None), [read_evidence(io.BytesIO(a_file(a_slide())))])


def items(*references, tag="00081199", reason=None):
    value = [
        {"00081155": {"vr": "UI", "Value": [uid]}}
        | ({"00081197": {"vr": "US", "Value": [reason]}} if reason else {})
        for uid in references
    ]
    return {tag: {"vr": "SQ", "Value": value}}


FAILED = "00081198"


def outcome_of(report, answer, *, attempt=1, seen=None, headers=None):
    def serve(request):
        if seen is not None:
            seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with httpx.Client(transport=httpx.MockTransport(serve)) as client:
        return stow.attempt(
            a_delivery(attempt), report, DicomWeb(root="https://pacs/dicom-web"), client,
            chance=0.5, headers=headers,
        )  # fmt: skip


def answer(status, said=None, **headers):
    return raw_answer(status, b"" if said is None else json.dumps(said).encode(), **headers)


def raw_answer(status, body, **headers):
    return httpx.Response(status, stream=httpx.ByteStream(body), headers=headers)


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        (answer(200, items(OURS)), DeliveryStatus.DELIVERED, ""),
        (answer(200), DeliveryStatus.DELIVERED, ""),
        (answer(202, items(OURS)), DeliveryStatus.DELIVERED, "warning"),
        (answer(409, items(OURS, tag=FAILED, reason=0x0111)), DeliveryStatus.DELIVERED, "duplicate"),
        (answer(200, items(OURS, tag=FAILED, reason=0xA700)), DeliveryStatus.PENDING, "not_accepted"),
        (answer(200, items("1.2.3", tag=FAILED)), DeliveryStatus.PENDING, "not_accepted"),
        (answer(202), DeliveryStatus.PENDING, "not_accepted"),
        (answer(409, items(OURS, tag=FAILED, reason=0xC000)), DeliveryStatus.PENDING, "not_accepted"),
        (answer(413), DeliveryStatus.PENDING, "too_large"),
        (answer(401), DeliveryStatus.PENDING, "not_authorised"),
        (answer(415), DeliveryStatus.PENDING, "media_type"),
        (answer(503), DeliveryStatus.PENDING, "busy"),
        (answer(301, location="https://elsewhere/"), DeliveryStatus.PENDING, "redirect"),
        (answer(410), DeliveryStatus.GONE, "gone"),
        (httpx.ReadTimeout("x"), DeliveryStatus.PENDING, "timeout"),
        (httpx.ConnectError("x"), DeliveryStatus.PENDING, "unreachable"),
    ],
)
def test_an_answer_becomes_an_outcome(report, said, status, reason):
    outcome = outcome_of(report, said)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert (outcome.wait is not None) == (status is DeliveryStatus.PENDING)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"[[[", b'{"00081199": 1}', b'{"00081199": {"Value": [1, {"00081155": 2}]}}']
)
def test_a_body_that_says_nothing_leaves_the_status_to_decide(report, body):
    assert outcome_of(report, raw_answer(200, body)).status is DeliveryStatus.DELIVERED
    assert outcome_of(report, raw_answer(409, body)).status is DeliveryStatus.PENDING


def test_a_body_without_end_is_not_read(report):
    assert outcome_of(report, raw_answer(200, b"x" * 10**6)).status is DeliveryStatus.DELIVERED


def test_a_busy_server_may_ask_for_time(report):
    assert outcome_of(report, answer(503, **{"retry-after": "600"})).wait >= timedelta(seconds=600)
    assert outcome_of(report, answer(503, **{"retry-after": "9" * 99})).wait <= timedelta(hours=30)


def test_the_last_attempt_exhausts(report):
    assert outcome_of(report, answer(503), attempt=10).status is DeliveryStatus.EXHAUSTED


def test_what_is_sent_is_one_dicom_part_to_the_studies_of_the_server(report):
    seen = []
    outcome_of(report, answer(200), seen=seen, headers={"authorization": "Bearer token"})
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", "https://pacs/dicom-web/studies")
    assert request.headers["authorization"] == "Bearer token"
    assert request.headers["accept"] == "application/dicom+json"
    parts = message_from_bytes(
        b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.content
    )
    boundary = parts.get_boundary().encode()
    head, _, rest = request.content.partition(b"\r\n\r\n")
    assert head == b"--" + boundary + b"\r\nContent-Type: application/dicom"
    assert rest == report + b"\r\n--" + boundary + b"--\r\n"
    assert pydicom.dcmread(io.BytesIO(rest[: len(report)])).SOPInstanceUID == OURS
