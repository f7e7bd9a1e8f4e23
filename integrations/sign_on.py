"""Sign-on: people show who they are to the hospital's OpenID provider, and never a password to us.

In: one word for each sign-in, which the browser keeps; later the code that the provider gave it. Out: the
address the browser is sent to; then a Person and what they may do. It knows no cookie, no route, no store.

OpenID Connect Core 1.0, 3.1 (authorization code) with PKCE (RFC 7636), with a client secret or without. The
provider's keys are read anew for every sign-in: those are few, and a withdrawn key is not trusted on.
It logs nothing, and no error quotes what came (docs/decisions/0021).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx

from worker.address import AllowList
from worker.errors import AddressRefused, NotAllowed, PeerUnavailable, ScopeMissing
from worker.jobs.scope import Scope
from worker.pinned import pinned_client
from worker.settings import SettingsError, SignOnSettings

#: signatures that only the provider can make; never `none`, never one keyed with the client's secret
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
KEY_TYPES: Final = ("RSA", "EC", "OKP")
#: seconds that two clocks may differ by
LEEWAY: Final = 60
#: of one exchange with the provider
SECONDS: Final = 10.0
ANSWER_BYTES: Final = 256 * 1024
NAME_LENGTH: Final = 100
#: a group that everybody is in whom the provider knows
ANYBODY: Final = "*"


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in: all that it is recognised by follows from one random word, so nothing has to be kept."""

    word: str = field(repr=False)

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """RFC 7636, 4.2: S256."""
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    def is_answered_by(self, state: str) -> bool:
        return bool(self.word) and hmac.compare_digest(self.state.encode(), state.encode())

    def _derived(self, purpose: str) -> str:
        return _base64(hmac.digest(self.word.encode(), purpose.encode(), "sha256"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    #: for ever the same person at the same provider: hex digest of `iss` and `sub` (Core, 5.7)
    identity: str
    #: as reviews and the audit name them
    name: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Which of a token's claims say what; a dot leads into a claim."""

    #: a name that its owner cannot change
    name: str = "preferred_username"
    groups: str = "groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Every method raises PeerUnavailable where the provider does not answer as it should."""

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    #: where the provider sends browsers back to
    back: str
    #: what is asked for
    scope: str
    claims: Claims
    #: group -> what its people may do
    groups: Mapping[str, frozenset[Scope]]
    client: httpx.Client
    now: Callable[[], float]

    @property
    def host(self) -> str:
        return httpx.URL(self.issuer).host

    def address(self, sign_in: SignIn) -> str:
        """Where the browser goes to be asked who sits before it."""
        asked = {
            "response_type": "code", "client_id": self.client_id, "redirect_uri": self.back,
            "scope": self.scope, "state": sign_in.state, "nonce": sign_in.nonce,
            "code_challenge": sign_in.challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        place = _text(self._discovered(), "authorization_endpoint")
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"

    def person(self, sign_in: SignIn, *, code: str, state: str) -> Person:
        """Who came back. Raises NotAllowed if that is not shown, ScopeMissing for those in no group."""
        if not code or not sign_in.is_answered_by(state):
            raise NotAllowed
        places = self._discovered()
        tokens = self._exchanged(_text(places, "token_endpoint"), sign_in, code)
        claims = self._checked(_text(tokens, "id_token"), _text(places, "jwks_uri"), sign_in)
        subject = _text(claims, "sub")
        if _at(claims, self.claims.groups) is None and "userinfo_endpoint" in places:
            claims |= self._further(
                _text(places, "userinfo_endpoint"), _text(tokens, "access_token"), subject
            )
        scopes = self._scopes(_at(claims, self.claims.groups))
        if not scopes:
            raise ScopeMissing
        identity = hashlib.sha256(f"{self.issuer}\n{subject}".encode()).hexdigest()
        return Person(identity=identity, name=_name(_at(claims, self.claims.name) or subject), scopes=scopes)

    def _discovered(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, 4.3: the document must say that it is this issuer's."""
        found = self._asked("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            raise PeerUnavailable("issuer")
        return found

    def _exchanged(self, place: str, sign_in: SignIn, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.back,
            "client_id": self.client_id, "code_verifier": sign_in.verifier,
        }  # fmt: skip
        if not self.client_secret:
            return self._asked("POST", place, data=form)
        pair = f"{quote(self.client_id, safe='')}:{quote(self.client_secret, safe='')}"
        shown = {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return self._asked("POST", place, data=form, headers=shown)

    def _checked(self, token: str, keys_at: str, sign_in: SignIn) -> dict[str, Any]:
        """The claims of an ID token (Core, 3.1.3.7)."""
        from joserfc import jwt  # noqa: PLC0415  cryptography is a tenth of a second
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import KeySet  # noqa: PLC0415

        expected = jwt.JWTClaimsRegistry(
            now=int(self.now()), leeway=LEEWAY,
            iss={"essential": True, "value": self.issuer}, aud={"essential": True, "value": self.client_id},
            nonce={"essential": True, "value": sign_in.nonce}, sub={"essential": True},
            exp={"essential": True}, iat={"essential": True},
        )  # fmt: skip
        known = self._asked("GET", keys_at).get("keys")
        usable = [key for key in known or () if _may_sign(key)]
        try:
            claims = jwt.decode(token, KeySet.import_key_set({"keys": usable}), list(ALGORITHMS)).claims
            expected.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError):
            raise NotAllowed from None
        if claims.get("azp", self.client_id) != self.client_id:
            raise NotAllowed
        return dict(claims)

    def _further(self, place: str, access_token: str, subject: str) -> dict[str, Any]:
        """What a provider says of the same person only there (Core, 5.3)."""
        told = self._asked("GET", place, headers={"authorization": f"Bearer {access_token}"})
        if told.get("sub") != subject:
            raise NotAllowed
        return told

    def _scopes(self, groups: Any) -> frozenset[Scope]:
        """`groups` is a name, a list of names, or an object whose members are named so (Zitadel)."""
        named = [groups] if isinstance(groups, str) else groups if isinstance(groups, list | dict) else ()
        listed = {one for one in named if isinstance(one, str)}
        return frozenset().union(*(self.groups.get(group, ()) for group in listed | {ANYBODY}))

    def _asked(self, method: str, url: str, **request: Any) -> dict[str, Any]:
        """Raises NotAllowed where the provider refuses, else PeerUnavailable."""
        headers = {"accept": "application/json", "accept-encoding": "identity"} | request.pop("headers", {})
        try:
            with self.client.stream(method, url, headers=headers, **request) as answer:
                body = b""
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES:
                        raise PeerUnavailable("too much")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError, AddressRefused):
            raise PeerUnavailable("unreachable") from None
        if answer.status_code in (400, 401, 403):
            raise NotAllowed
        try:
            told = json.loads(body) if answer.is_success else None
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise PeerUnavailable("unreadable", http_status=answer.status_code)
        return told


def _may_sign(key: Any) -> bool:
    return isinstance(key, dict) and key.get("kty") in KEY_TYPES and key.get("use", "sig") == "sig"


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise PeerUnavailable("unreadable")
    return value


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of that very name, else what the dots lead to (`realm_access.roles`)."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _name(claimed: Any) -> str:
    """Never the name of an API key: those have no such beginning."""
    shown = "".join(sign for sign in str(claimed) if sign.isprintable())
    return f"sso:{shown[:NAME_LENGTH]}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def provider_of(asked: SignOnSettings, *, back: str) -> Provider:
    """Raises SettingsError that names the variable."""
    issuer = httpx.URL(asked.oidc_issuer)
    if issuer.scheme not in (("https", "http") if asked.oidc_plain_http else ("https",)) or not issuer.host:
        raise SettingsError("PATHLANE_OIDC_ISSUER: an https: URL is needed")
    if not asked.oidc_client_id:
        raise SettingsError("PATHLANE_OIDC_CLIENT_ID: the client id is needed")
    allow = AllowList.of((issuer.host, *asked.oidc_hosts))
    return Provider(
        issuer=asked.oidc_issuer,
        client_id=asked.oidc_client_id,
        client_secret=_secret(asked),
        back=back,
        scope=asked.oidc_scope,
        claims=Claims(name=asked.oidc_name_claim, groups=asked.oidc_groups_claim),
        groups=_groups(asked.oidc_groups),
        client=pinned_client(allow, seconds=SECONDS, plain_http=asked.oidc_plain_http),
        now=time.time,
    )


def _secret(asked: SignOnSettings) -> str:
    try:
        return "" if asked.oidc_secret_file is None else asked.oidc_secret_file.read_text("utf-8").strip()
    except OSError:
        raise SettingsError("PATHLANE_OIDC_SECRET_FILE: the file cannot be read") from None


def _groups(entries: Iterable[str]) -> dict[str, frozenset[Scope]]:
    """`pathologists:read+review`; a group's own name may have colons."""
    known = dict[str, frozenset[Scope]]()
    for number, entry in enumerate(entries, 1):
        group, _, scopes = entry.rpartition(":")
        try:
            known[group] = frozenset(map(Scope, scopes.split("+")))
        except ValueError:
            group = ""
        if not group:
            raise SettingsError(f"PATHLANE_OIDC_GROUPS: entry {number} is not GROUP:SCOPE+SCOPE")
    if not known:
        raise SettingsError("PATHLANE_OIDC_GROUPS: without it nobody may do anything")
    return known
