"""What an OpenID provider says, and what of it is believed: a provider that can be told to lie."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from integrations.sign_on import Claims, Provider, SignIn, provider_of
from worker.errors import NotAllowed, PeerUnavailable, ScopeMissing
from worker.jobs.scope import Scope
from worker.settings import SettingsError, SignOnSettings

ISSUER, CLIENT, SECRET = "https://idp.example/realms/lab", "pathlane", "s:e c"
BACK = "https://pathlane.example/v1/session/provider/back"
NOW = 1_800_000_000
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
CURVE = ECKey.generate_key("P-256", {"kid": "two"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})
SIGN_IN = SignIn("word")


class Idp:
    """Speaks the protocol over an httpx transport; each field is one thing that it could say."""

    def __init__(self):
        self.document = {
            "issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/auth?tenant=1",
            "token_endpoint": f"{ISSUER}/token", "jwks_uri": f"{ISSUER}/keys",
        }  # fmt: skip
        self.claims = {
            "iss": ISSUER, "aud": CLIENT, "sub": "4711", "iat": NOW, "exp": NOW + 300, "nonce": SIGN_IN.nonce,
            "preferred_username": "anna", "groups": ["pathologists", "others"],
        }  # fmt: skip
        self.key, self.algorithm = KEY, "RS256"
        self.userinfo = None
        self.asked = []

    def __call__(self, request):
        self.asked.append(request)
        match request.url.path.rpartition("/")[2]:
            case "openid-configuration":
                return httpx.Response(200, json=self.document)
            case "keys":
                unusable = [
                    {"kty": "XYZ", "kid": "x"},
                    OTHER.as_dict(private=False) | {"use": "enc", "kid": "e"},
                ]
                known = KeySet([KEY, CURVE]).as_dict(private=False)["keys"]
                return httpx.Response(200, json={"keys": unusable + known})
            case "token":
                return self.token(request)
            case "userinfo":
                assert request.headers["authorization"] == "Bearer opens-userinfo"
                return httpx.Response(200, json=self.userinfo)
        return httpx.Response(404)

    def token(self, request):
        form = {name: value for name, (value,) in parse_qs(request.content.decode()).items()}
        proved = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(proved).decode().rstrip("=") == SIGN_IN.challenge
        if form["code"] != "good" or form["redirect_uri"] != BACK:
            return httpx.Response(400, json={"error": "invalid_grant"})
        return httpx.Response(200, json={"id_token": self.id_token(), "access_token": "opens-userinfo"})

    def id_token(self):
        header = {"alg": self.algorithm, "kid": getattr(self.key, "kid", None) or "one"}
        if self.algorithm == "none":
            parts = (json.dumps(part).encode() for part in (header, self.claims))
            return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])
        return jwt.encode(header, self.claims, self.key, [self.algorithm])


@pytest.fixture
def idp():
    return Idp()


@pytest.fixture
def provider(idp):
    return Provider(
        issuer=ISSUER, client_id=CLIENT, client_secret=SECRET, back=BACK, scope="openid profile",
        claims=Claims(), groups={"pathologists": frozenset({Scope.READ, Scope.REVIEW})},
        client=httpx.Client(transport=httpx.MockTransport(idp)), now=lambda: NOW + 30,
    )  # fmt: skip


def test_the_browser_is_sent_away_with_what_it_will_be_recognised_by(provider):
    address = provider.address(SIGN_IN)
    asked = {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{ISSUER}/auth?tenant=1&")
    assert asked == {
        "tenant": "1", "response_type": "code", "client_id": CLIENT, "redirect_uri": BACK,
        "scope": "openid profile", "state": SIGN_IN.state, "nonce": SIGN_IN.nonce,
        "code_challenge": SIGN_IN.challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    assert "word" not in address
    assert len({SIGN_IN.state, SIGN_IN.nonce, SIGN_IN.verifier, SignIn("other").state}) == 4
    assert SIGN_IN.is_answered_by(SIGN_IN.state)
    assert not any(SIGN_IN.is_answered_by(state) for state in ("", "ä", SignIn("other").state))
    assert not SignIn("").is_answered_by(SignIn("").state), "a browser without the cookie is nobody"


def test_who_comes_back_is_a_person_with_the_scopes_of_their_groups(provider, idp):
    person = provider.person(SIGN_IN, code="good", state=SIGN_IN.state)
    assert (person.name, person.scopes) == ("sso:anna", {Scope.READ, Scope.REVIEW})
    assert person.identity == hashlib.sha256(f"{ISSUER}\n4711".encode()).hexdigest()
    basic = next(request for request in idp.asked if request.method == "POST").headers["authorization"]
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"pathlane:s%3Ae%20c"  # RFC 6749, 2.3.1


def test_a_public_client_shows_no_secret_and_a_key_may_be_elliptic(provider, idp):
    idp.key, idp.algorithm = CURVE, "ES256"
    assert (
        replace(provider, client_secret="").person(SIGN_IN, code="good", state=SIGN_IN.state).name
        == "sso:anna"
    )
    assert all("authorization" not in request.headers for request in idp.asked)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"}, {"aud": "another"}, {"aud": ["another"]}, {"aud": None},
        {"nonce": SignIn("other").nonce}, {"nonce": None}, {"exp": NOW - 60}, {"exp": None},
        {"iat": NOW + 600}, {"sub": None}, {"azp": "another"},
    ],
)  # fmt: skip
def test_a_token_of_somebody_else_for_somebody_else_or_of_another_time_is_not_believed(provider, idp, claims):
    idp.claims = {name: value for name, value in (idp.claims | claims).items() if value is not None}
    with pytest.raises(NotAllowed):
        provider.person(SIGN_IN, code="good", state=SIGN_IN.state)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (OTHER, "RS256"), (None, "none"), (OctKey.import_key(SECRET.ljust(32)), "HS256"),
        (OctKey.import_key(KEY.as_dict(private=False)["n"]), "HS256"),
    ],
    ids=["another key", "no signature", "the client's secret", "the public key as a secret"],
)  # fmt: skip
def test_a_token_that_the_provider_did_not_sign_is_not_believed(provider, idp, key, algorithm):
    idp.key, idp.algorithm = key, algorithm
    with pytest.raises(NotAllowed):
        provider.person(SIGN_IN, code="good", state=SIGN_IN.state)


@pytest.mark.parametrize(("code", "state"), [("stolen", SIGN_IN.state), ("", SIGN_IN.state), ("good", "x")])
def test_a_code_that_is_refused_or_was_another_browsers_is_nobody(provider, code, state):
    with pytest.raises(NotAllowed):
        provider.person(SIGN_IN, code=code, state=state)


@pytest.mark.parametrize("groups", [[], ["others"], None, "Pathologists", [["pathologists"]], 7, {"a": 1}])
def test_who_is_in_no_group_of_ours_may_do_nothing(provider, idp, groups):
    idp.claims["groups"] = groups
    with pytest.raises(ScopeMissing):
        provider.person(SIGN_IN, code="good", state=SIGN_IN.state)


def test_a_star_is_anybody_and_scopes_add_up(provider, idp):
    known = {"*": frozenset({Scope.READ}), "it": frozenset({Scope.OPERATE})}
    anybody = replace(provider, groups=known)
    idp.claims["groups"] = []
    assert anybody.person(SIGN_IN, code="good", state=SIGN_IN.state).scopes == {Scope.READ}
    idp.claims["groups"] = "it"
    assert anybody.person(SIGN_IN, code="good", state=SIGN_IN.state).scopes == {Scope.READ, Scope.OPERATE}


def test_claims_may_lie_deeper_or_be_told_at_userinfo_only(provider, idp):
    del idp.claims["groups"]
    idp.claims["realm_access"] = {"roles": ["pathologists"]}
    deep = replace(provider, claims=Claims(name="missing", groups="realm_access.roles"))
    assert deep.person(SIGN_IN, code="good", state=SIGN_IN.state).name == "sso:4711"
    idp.document["userinfo_endpoint"] = f"{ISSUER}/userinfo"
    idp.userinfo = {"sub": "4711", "groups": ["pathologists"], "preferred_username": "an\nna" + "x" * 200}
    person = provider.person(SIGN_IN, code="good", state=SIGN_IN.state)
    assert person.scopes == {Scope.READ, Scope.REVIEW}
    assert person.name == "sso:anna" + "x" * 96
    idp.userinfo["sub"] = "somebody else"
    with pytest.raises(NotAllowed):
        provider.person(SIGN_IN, code="good", state=SIGN_IN.state)


@pytest.mark.parametrize(
    "broken",
    [
        {"issuer": "https://evil.example"}, {"authorization_endpoint": 5}, {"authorization_endpoint": None},
        {"issuer": f"{ISSUER}/"},
    ],
)  # fmt: skip
def test_a_document_that_is_not_this_issuers_or_not_whole_sends_nobody_anywhere(provider, idp, broken):
    idp.document |= broken
    with pytest.raises(PeerUnavailable):
        provider.address(SIGN_IN)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(503), lambda _: httpx.Response(200, text="<html>"),
        lambda _: httpx.Response(200, json=[]), lambda _: httpx.Response(302, headers={"location": "/x"}),
        lambda _: httpx.Response(200, content=b'"' + b"x" * 300_000 + b'"'),
    ],
    ids=["503", "no JSON", "no object", "a redirection", "too much"],
)  # fmt: skip
def test_a_provider_that_does_not_answer_as_it_should_is_unavailable(provider, answer):
    silent = replace(provider, client=httpx.Client(transport=httpx.MockTransport(answer)))
    with pytest.raises(PeerUnavailable):
        silent.address(SIGN_IN)


def settings(**changed):
    usual = {"oidc_issuer": ISSUER, "oidc_client_id": CLIENT, "oidc_groups": "a:b:read+review,*:read"}
    return SignOnSettings(**usual | changed)


def test_settings_make_a_provider(tmp_path):
    (tmp_path / "secret").write_text("word\n")
    made = provider_of(settings(oidc_secret_file=tmp_path / "secret"), back=BACK)
    assert (made.host, made.client_secret) == ("idp.example", "word")
    assert made.groups == {"a:b": {Scope.READ, Scope.REVIEW}, "*": {Scope.READ}}
    assert "word" not in repr(made)
    made.client.close()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"oidc_issuer": "http://idp.example"}, "PATHLANE_OIDC_ISSUER"),
        ({"oidc_issuer": "idp.example"}, "PATHLANE_OIDC_ISSUER"),
        ({"oidc_client_id": ""}, "PATHLANE_OIDC_CLIENT_ID"),
        ({"oidc_groups": ""}, "PATHLANE_OIDC_GROUPS"),
        ({"oidc_groups": "a:read,:read"}, "entry 2"),
        ({"oidc_groups": "a:reed"}, "entry 1"),
        ({"oidc_groups": "a"}, "entry 1"),
        ({"oidc_secret_file": "/nowhere/secret"}, "PATHLANE_OIDC_SECRET_FILE"),
    ],
)
def test_settings_that_cannot_be_used_are_named(changed, named):
    with pytest.raises(SettingsError, match=named):
        provider_of(settings(**changed), back=BACK)
