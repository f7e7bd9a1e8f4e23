"""One attempt: every answer of a FHIR server becomes an Outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from integrations.fhir.client import FhirServer
from integrations.fhir.delivery import attempt
from worker.errors import AddressRefused, TokenRefused
from worker.jobs.event import Delivery, DeliveryStatus, Endpoint, EndpointStatus, EventType, Outcome, Payload

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BUNDLE = {"resourceType": "Bundle", "type": "transaction", "entry": [{}]}
DONE = {"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "201"}}]}


def a_delivery(number=1):
    endpoint = Endpoint(
        id="ep_1", name="lis", url="fhir+https://lis.lab.example/fhir", status=EndpointStatus.ACTIVE,
        event_types=tuple(EventType), payload=Payload.THIN, secrets=(),
    )  # fmt: skip
    return Delivery(
        id="msg_1",
        job_id="job_1",
        endpoint=endpoint,
        event_type=EventType.JOB_SUCCEEDED,
        body=b"{}",
        attempt=number,
    )


def outcome_of(handler, number=1):
    client = httpx.Client(transport=httpx.MockTransport(handler))
    server = FhirServer(base="https://lis.lab.example/fhir", client=client)
    return attempt(a_delivery(number), BUNDLE, server, now=NOW, chance=0.5)


def answers(status, body=DONE, number=1, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return outcome_of(lambda _: httpx.Response(status, json=body, headers=named), number)


def raises(error):
    def handler(_):
        raise error

    return outcome_of(handler)


def test_a_transaction_that_went_through_is_delivered():
    assert answers(200) == Outcome(status=DeliveryStatus.DELIVERED, http_status=200)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 409])
def test_a_busy_server_is_tried_again_when_it_says(status):
    expected = Outcome(
        status=DeliveryStatus.PENDING, wait=timedelta(seconds=120) * 1.1, http_status=status, reason="busy"
    )
    assert answers(status, retry_after="120") == expected
    assert answers(status).wait == timedelta(seconds=5)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 412, 422])
def test_what_the_server_refuses_is_set_aside_at_once(status):
    outcome = {"resourceType": "OperationOutcome", "issue": [{"code": "invariant", "diagnostics": "CANARY"}]}
    expected = Outcome(status=DeliveryStatus.EXHAUSTED, http_status=status, reason="rejected_invariant")
    assert answers(status, outcome) == expected


def test_the_last_failure_leaves_the_delivery_exhausted():
    expected = Outcome(status=DeliveryStatus.EXHAUSTED, http_status=503, reason="busy")
    assert answers(503, number=10) == expected


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (httpx.ConnectTimeout("CANARY"), DeliveryStatus.PENDING, "timeout"),
        (httpx.ReadError("CANARY"), DeliveryStatus.PENDING, "dropped"),
        (AddressRefused(), DeliveryStatus.PENDING, "address_refused"),
        (TokenRefused("401"), DeliveryStatus.EXHAUSTED, "token_refused"),
    ],
)
def test_whatever_goes_wrong_on_the_way_is_an_outcome_too(error, status, reason):
    outcome = raises(error)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert (outcome.wait is None) == (status is DeliveryStatus.EXHAUSTED)


def test_a_login_page_is_not_taken_for_a_delivery():
    assert answers(200, {"html": True}).reason == "unreadable"
