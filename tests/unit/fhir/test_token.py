"""Tokens: who asks how, how long one lasts, and what a server can say instead."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from integrations.fhir.client import FhirServer
from integrations.fhir.token import ClientSecret, PrivateKey, Tokens
from worker.errors import AddressRefused, FhirRejected, FhirUnavailable, TokenRefused

URL = "https://auth.lab.example/token"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRET = ClientSecret(token_url=URL, client_id="path:lane", secret="s%CANARY", scope="system/*.rs")


class Clock:
    def __init__(self):
        self.at = NOW

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def keys():
    return {
        "RS384": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "P-256": ec.generate_private_key(ec.SECP256R1()),
    }


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def tokens(clock, credentials=SECRET, answers=None, asked=None):
    numbers = itertools.count(1)

    def handler(request):
        if asked is not None:
            asked.append(request)
        if answers is not None:
            return answers(request)
        return httpx.Response(200, json={"access_token": f"t{next(numbers)}", "expires_in": 300})

    ids = (f"id-{n}" for n in itertools.count(1))
    client = httpx.Client(transport=httpx.MockTransport(handler))
    return Tokens(credentials=credentials, client=client, now=clock, new_id=lambda: next(ids))


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_secret_goes_as_basic_authentication_of_quoted_parts(clock):
    asked = []
    assert tokens(clock, asked=asked).current() == "t1"
    scheme, _, pair = asked[0].headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"path%3Alane:s%25CANARY")
    form = dict(parse_qsl(asked[0].content.decode()))
    assert form == {"grant_type": "client_credentials", "scope": "system/*.rs"}


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_private_key_signs_an_assertion_as_smart_backend_services_have_it(clock, keys, algorithm):
    asked = []
    credentials = PrivateKey(token_url=URL, client_id="pathlane", key=pem(keys[algorithm]), key_id="k1")
    tokens(clock, credentials, asked=asked).current()
    form = dict(parse_qsl(asked[0].content.decode()))
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    head, claims, signature = form["client_assertion"].split(".")
    assert json.loads(decoded(head)) == {"alg": algorithm, "kid": "k1", "typ": "JWT"}
    assert json.loads(decoded(claims)) == {
        "iss": "pathlane",
        "sub": "pathlane",
        "aud": URL,
        "exp": int((NOW + timedelta(minutes=5)).timestamp()),
        "iat": int(NOW.timestamp()),
        "jti": "id-1",
    }
    verify(keys[algorithm], f"{head}.{claims}".encode(), decoded(signature))
    with pytest.raises(InvalidSignature):
        verify(keys[algorithm], f"{head}.{claims}x".encode(), decoded(signature))
    assert "authorization" not in asked[0].headers


def verify(key, signed, signature):
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA384())
        return
    assert len(signature) == 96
    r, s = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
    key.public_key().verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))


@pytest.mark.parametrize("key", ["", "CANARY", "P-256"])
def test_a_key_that_cannot_be_used_is_told_and_not_shown(clock, keys, key):
    text = pem(keys[key]) if key in keys else key
    credentials = PrivateKey(token_url=URL, client_id="pathlane", key=text, key_id="k1")
    with pytest.raises(TokenRefused) as refused:
        tokens(clock, credentials).current()
    assert "CANARY" not in repr(refused.value)
    assert "PRIVATE" not in repr(credentials)


def test_a_token_is_kept_until_shortly_before_it_ends(clock):
    kept = tokens(clock)
    assert kept.current() == kept.current() == "t1"
    clock.at += timedelta(seconds=269)
    assert kept.current() == "t1"
    clock.at += timedelta(seconds=1)
    assert kept.current() == "t2"


@pytest.mark.parametrize(
    ("life", "kept_for"),
    [
        (20, 10),
        (None, 270),
        ("300", 270),
        (-5, 270),
        (0, 270),
        (True, 0.5),
        (10**12, 270),
        (float("nan"), 270),
    ],
)
def test_a_life_that_is_short_or_makes_no_sense_still_keeps_it_for_a_while(clock, life, kept_for):
    said = {"access_token": "t", "expires_in": life}
    asked = []
    kept = tokens(clock, answers=lambda _: httpx.Response(200, content=json.dumps(said)), asked=asked)
    kept.current()
    clock.at += timedelta(seconds=kept_for) - timedelta(milliseconds=1)
    kept.current()
    assert len(asked) == 1
    clock.at += timedelta(milliseconds=1)
    kept.current()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (
            httpx.Response(401, json={"error": "invalid_client", "error_description": "CANARY"}),
            "401 invalid_client",
        ),
        (httpx.Response(400, json={"error": "CANARY"}), "400"),
        (httpx.Response(400, content=b"CANARY"), "400"),
        (httpx.Response(200, json={"token": "CANARY"}), "200"),
        (httpx.Response(200, json=["CANARY"]), "200"),
        (httpx.Response(200, json={"access_token": "CANARY\r\nx: y"}), "200"),
        (httpx.Response(200, json={"access_token": ""}), "200"),
        (httpx.Response(302, headers={"location": "https://evil.example"}), "302"),
        (httpx.Response(400, json={"error": ["invalid_client"]}), "400"),
    ],
)
def test_whatever_is_no_token_is_refused_in_the_words_of_the_standard(clock, answer, detail):
    with pytest.raises(TokenRefused) as refused:
        tokens(clock, answers=lambda _: answer).current()
    assert refused.value.detail == detail
    assert "CANARY" not in repr(refused.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_authorization_server_is_asked_again_later(clock, status):
    with pytest.raises(FhirUnavailable) as raised:
        tokens(clock, answers=lambda _: httpx.Response(status, headers={"retry-after": "7"})).current()
    assert (raised.value.reason, raised.value.http_status, raised.value.retry_after) == ("token", status, "7")


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("CANARY"), httpx.ReadTimeout("CANARY"), UnicodeError("CANARY")]
)
def test_an_authorization_server_that_cannot_be_reached_is_asked_again_later(clock, error):
    with pytest.raises(FhirUnavailable) as raised:
        tokens(clock, answers=raising(error)).current()
    assert "CANARY" not in repr(raised.value)


def test_an_address_that_is_refused_stays_so(clock):
    with pytest.raises(AddressRefused):
        tokens(clock, answers=raising(AddressRefused())).current()


def test_a_long_answer_is_not_read_to_its_end(clock):
    with pytest.raises(FhirUnavailable):
        tokens(clock, answers=lambda _: httpx.Response(200, content=b"x" * 100_000)).current()


@pytest.mark.parametrize(("good", "asks"), [("t2", 2), ("never", 2)])
def test_a_401_is_answered_with_a_new_token_once(clock, good, asks):
    seen = []

    def fhir(request):
        seen.append(request.headers["authorization"])
        fits = request.headers["authorization"] == f"Bearer {good}"
        return httpx.Response(200 if fits else 401, json={"resourceType": "Patient"})

    client = httpx.Client(transport=httpx.MockTransport(fhir))
    server = FhirServer(base="https://lis.lab.example/fhir", client=client, tokens=tokens(clock))
    if good == "never":
        with pytest.raises(FhirRejected) as rejected:
            server.read("Patient/1")
        assert rejected.value.http_status == 401
    else:
        server.read("Patient/1")
    assert seen == ["Bearer t1", "Bearer t2"]
    assert len(seen) == asks


def test_a_token_that_was_replaced_meanwhile_is_not_thrown_away(clock):
    kept = tokens(clock)
    old = kept.current()
    kept.reject(old)
    new = kept.current()
    kept.reject(old)
    assert kept.current() == new


def test_secrets_are_in_no_repr(clock):
    assert "CANARY" not in repr(SECRET) + repr(tokens(clock))


def raising(error):
    def handler(_):
        raise error

    return handler
