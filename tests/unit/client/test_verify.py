"""`verify` against the reference package, against our own sender, and against everything that is not a webhook."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from integrations.client import WebhookRefused, verify
from integrations.webhooks.signing import Secret, sign

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
AT = datetime(2026, 11, 24, 9, tzinfo=UTC)
NOW = AT.timestamp()
BODY = '{"type":"job.succeeded","timestamp":"2026-11-24T09:00:00.000Z","data":{"job_id":"job_1","note":"é"}}'.encode()


def signed(body=BODY, *secrets, at=AT, webhook_id="msg_1"):
    return sign([Secret.read(one) for one in secrets or (SECRET,)], webhook_id=webhook_id, at=at, body=body)


@given(job_id=st.text(), text=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_the_reference_package_signs_is_verified(job_id, text):
    document = {
        "type": "job.failed",
        "timestamp": "2026-11-24T09:00:00.000Z",
        "data": {"job_id": job_id, "x": text},
    }
    body = json.dumps(document)
    headers = {
        "Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(NOW)),
        "Webhook-Signature": standardwebhooks.Webhook(SECRET).sign("msg_1", AT, body),
    }  # fmt: skip
    event = verify(body.encode(), headers, SECRET, now=NOW)
    assert (event.id, event.type, event.job_id, event.data["x"]) == ("msg_1", "job.failed", job_id, text)


def test_what_our_sender_signs_is_verified():
    event = verify(BODY, signed(), SECRET, now=NOW)
    assert (event.type, event.job_id) == ("job.succeeded", "job_1")
    assert "é" not in repr(event)


def test_the_same_json_written_again_is_refused():
    """The trap of the docstring."""
    again = json.dumps(json.loads(BODY)).encode()
    assert json.loads(again) == json.loads(BODY)
    with pytest.raises(WebhookRefused):
        verify(again, signed(), SECRET, now=NOW)


@pytest.mark.parametrize("body", [json.loads(BODY), BODY.decode()], ids=["parsed", "decoded"])
def test_a_body_that_is_no_longer_bytes_is_a_mistake_of_the_program(body):
    with pytest.raises(TypeError, match="bytes that came"):
        verify(body, signed(), SECRET, now=NOW)


def test_while_a_secret_is_rotated_either_fits():
    both = signed(BODY, OTHER, SECRET)
    assert verify(BODY, both, SECRET, now=NOW) == verify(BODY, both, OTHER, now=NOW)
    assert verify(BODY, signed(), [OTHER, SECRET], now=NOW).id == "msg_1"
    with pytest.raises(WebhookRefused):
        verify(BODY, signed(), OTHER, now=NOW)


@pytest.mark.parametrize("seconds", [-301, 301, 1e9])
def test_too_old_or_too_new_is_refused(seconds):
    with pytest.raises(WebhookRefused, match="clock"):
        verify(BODY, signed(), SECRET, now=NOW + seconds)
    assert verify(BODY, signed(), SECRET, now=NOW + 299)
    assert verify(BODY, signed(), SECRET, now=NOW + seconds, tolerance=2e9)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_2"}, {"webhook-id": ""}, {"webhook-timestamp": str(int(NOW) + 1)}, {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "٣"}, {"webhook-timestamp": "9" * 5000}, {"webhook-timestamp": "-1"}, {"webhook-signature": ""},
        {"webhook-signature": "v1"}, {"webhook-signature": "v1,\u00e9"}, {"webhook-signature": "\udce9"},
    ],
)  # fmt: skip
def test_a_header_that_is_not_as_it_was_sent_is_refused(changed):
    with pytest.raises(WebhookRefused):
        verify(BODY, signed() | changed, SECRET, now=NOW)


@given(
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()
    ),
    body=st.binary(),
)
def test_whatever_comes_is_refused_with_one_error(headers, body):
    with pytest.raises(WebhookRefused):
        verify(body, headers, SECRET, now=NOW)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b'{"type":"a"}', b"\xff", b'{"type":"a","timestamp":"b","data":[]}']
)
def test_a_signed_body_that_is_no_event_is_refused(body):
    with pytest.raises(WebhookRefused, match="not an event"):
        verify(body, signed(body), SECRET, now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_é", "whsec_*"])
def test_a_secret_that_is_none_is_a_mistake_of_the_program(secret):
    with pytest.raises(ValueError, match="whsec_"):
        verify(BODY, signed(), secret, now=NOW)
