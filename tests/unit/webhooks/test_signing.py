"""Signatures: the published vector, agreement with the reference package, and everything that must not verify."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta, timezone

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from integrations.webhooks.signing import Secret, sign, verify
from worker.errors import SecretInvalid, SignatureInvalid

# github.com/standard-webhooks: the vector its libraries share
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_AT = datetime.fromtimestamp(1614265330, UTC)
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SECRET = Secret.read(VECTOR_SECRET)
OTHER = Secret.new(lambda count: b"o" * count)


def check(headers: dict[str, str], body: bytes = VECTOR_BODY, now: datetime = VECTOR_AT) -> None:
    verify([SECRET], headers, body, now=now)


def test_signing_gives_the_published_vector():
    headers = sign([SECRET], webhook_id=VECTOR_HEADERS["webhook-id"], at=VECTOR_AT, body=VECTOR_BODY)
    assert headers == VECTOR_HEADERS


def test_the_published_vector_verifies():
    check(VECTOR_HEADERS)


def test_header_names_verify_in_any_case():
    check({name.title(): value for name, value in VECTOR_HEADERS.items()})


def test_the_reference_package_verifies_what_is_signed_here():
    now = datetime.now(UTC)
    headers = sign([SECRET], webhook_id="msg_1", at=now, body='{"a":"é"}'.encode())
    assert standardwebhooks.Webhook(VECTOR_SECRET).verify('{"a":"é"}'.encode(), headers) == {"a": "é"}


def test_what_the_reference_package_signs_verifies_here():
    signature = standardwebhooks.Webhook(OTHER.text).sign("msg_2", VECTOR_AT, "{}")
    headers = {"webhook-id": "msg_2", "webhook-timestamp": "1614265330", "webhook-signature": signature}
    verify([OTHER], headers, b"{}", now=VECTOR_AT)


def test_the_same_instant_in_another_zone_gives_the_same_signature():
    elsewhere = VECTOR_AT.astimezone(timezone(timedelta(hours=5)))
    headers = sign([SECRET], webhook_id=VECTOR_HEADERS["webhook-id"], at=elsewhere, body=VECTOR_BODY)
    assert headers == VECTOR_HEADERS


def test_during_a_rotation_both_secrets_sign_and_receivers_with_either_verify():
    headers = sign([OTHER, SECRET], webhook_id="msg_1", at=VECTOR_AT, body=b"{}")
    newest, oldest = headers["webhook-signature"].split(" ")
    assert newest == sign([OTHER], webhook_id="msg_1", at=VECTOR_AT, body=b"{}")["webhook-signature"]
    assert oldest == sign([SECRET], webhook_id="msg_1", at=VECTOR_AT, body=b"{}")["webhook-signature"]
    for secret in (OTHER, SECRET):
        verify([secret], headers, b"{}", now=VECTOR_AT)


def test_a_receiver_that_rotates_may_hold_both_secrets():
    verify([OTHER, SECRET], VECTOR_HEADERS, VECTOR_BODY, now=VECTOR_AT)


@pytest.mark.parametrize(
    ("seconds", "fits"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)]
)
def test_a_signature_holds_for_five_minutes_either_way(seconds, fits):
    now = VECTOR_AT + timedelta(seconds=seconds)
    if fits:
        check(VECTOR_HEADERS, now=now)
    else:
        with pytest.raises(SignatureInvalid):
            check(VECTOR_HEADERS, now=now)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v1",  # no comma: the reference package raises ValueError here
        "v1,",
        ",",
        "v1,!!!not base64!!!",
        "v1,\N{SNOWMAN}",
        "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF=",  # the same bytes to a lenient decoder
        "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ],
)
def test_a_malformed_or_foreign_signature_is_the_one_error(signature):
    with pytest.raises(SignatureInvalid):
        check(VECTOR_HEADERS | {"webhook-signature": signature})


def test_unknown_signatures_beside_a_good_one_are_passed_over():
    good = VECTOR_HEADERS["webhook-signature"]
    check(VECTOR_HEADERS | {"webhook-signature": f"v1a,abc v1 v1,AAAA {good} v9,zz"})


@pytest.mark.parametrize("name", VECTOR_HEADERS)
def test_a_missing_header_is_the_one_error(name):
    with pytest.raises(SignatureInvalid):
        check({k: v for k, v in VECTOR_HEADERS.items() if k != name})


@pytest.mark.parametrize(
    "timestamp", ["", "soon", "-1", "1614265330.5", "1e9", "9" * 400, "\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_a_malformed_timestamp_is_the_one_error(timestamp):
    with pytest.raises(SignatureInvalid):
        check(VECTOR_HEADERS | {"webhook-timestamp": timestamp})


def test_another_body_id_or_secret_does_not_verify():
    with pytest.raises(SignatureInvalid):
        check(VECTOR_HEADERS, body=b'{"test":2432232314}')
    with pytest.raises(SignatureInvalid):
        check(VECTOR_HEADERS | {"webhook-id": "msg_other"})
    with pytest.raises(SignatureInvalid):
        verify([OTHER], VECTOR_HEADERS, VECTOR_BODY, now=VECTOR_AT)


@given(
    body=st.binary(max_size=200), key=st.binary(min_size=24, max_size=64), at=st.integers(0, 4_000_000_000)
)
def test_what_is_signed_verifies_until_one_byte_is_added(body, key, at):
    now = datetime.fromtimestamp(at, UTC)
    headers = sign([Secret(key)], webhook_id="msg_1", at=now, body=body)
    verify([Secret(key)], headers, body, now=now)
    with pytest.raises(SignatureInvalid):
        verify([Secret(key)], headers, body + b"0", now=now)


@given(signature=st.text(max_size=80), timestamp=st.text(max_size=20), webhook_id=st.text(max_size=20))
def test_no_header_whatever_raises_anything_else(signature, timestamp, webhook_id):
    headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    with pytest.raises(SignatureInvalid):
        verify([SECRET], headers, b"{}", now=VECTOR_AT)


def test_what_cannot_be_signed_unambiguously_is_refused():
    with pytest.raises(ValueError, match="zone"):
        sign([SECRET], webhook_id="msg_1", at=datetime(2026, 1, 1), body=b"")  # noqa: DTZ001  that is the point
    with pytest.raises(ValueError, match="full stop"):
        sign([SECRET], webhook_id="msg.1", at=VECTOR_AT, body=b"")
    with pytest.raises(ValueError, match="secret"):
        sign([], webhook_id="msg_1", at=VECTOR_AT, body=b"")


def test_a_new_secret_is_32_random_bytes_that_the_reference_package_reads():
    secret = Secret.new(secrets.token_bytes)
    assert secret.text.startswith("whsec_")
    assert Secret.read(secret.text).key == secret.key
    assert len(secret.key) == 32
    assert Secret.new(secrets.token_bytes).text != secret.text
    standardwebhooks.Webhook(secret.text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        VECTOR_SECRET.removeprefix("whsec_"),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_!!!!" + "A" * 40,
        "whsec_\N{SNOWMAN}",
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_quoted(text):
    with pytest.raises(SecretInvalid) as refusal:
        Secret.read(text)
    assert len(text) < 7 or text.removeprefix("whsec_") not in str(refusal.value)


def test_a_secret_is_not_shown_by_repr_or_str():
    for shown in (repr(SECRET), str(SECRET), f"{[SECRET]}"):
        assert VECTOR_SECRET not in shown
        assert repr(SECRET.key) not in shown
