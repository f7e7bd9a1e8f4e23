"""Tokens: OAuth 2.0 client credentials, with a secret or as SMART backend services (private_key_jwt).

In: credentials, a client (the pinned one), a clock, a source of random ids. Out: an access token, kept until
shortly before it ends. It logs nothing, and no error quotes what was sent or received.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from worker.errors import FhirUnavailable, TokenRefused

#: SMART App Launch 2.2, backend services: "no more than five minutes in the future"
ASSERTION_LIFE: Final = timedelta(minutes=5)
#: of servers that do not say how long a token lasts; the SMART recommendation
DEFAULT_LIFE: Final = timedelta(minutes=5)
#: a token is not used in its last moments: the request itself takes time, and clocks differ
MARGIN: Final = timedelta(seconds=30)
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ANSWER_BYTES: Final = 64 * 1024
#: seconds; a server that says more may mean milliseconds
LONGEST_LIFE: Final = 7 * 86_400
#: RFC 6749, 5.2: the only words of an answer that are repeated
OAUTH_ERRORS: Final = (
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope",
)  # fmt: skip
_B64TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, 2.1


class Credentials(Protocol):
    @property
    def token_url(self) -> str: ...
    @property
    def scope(self) -> str: ...
    def proof(self, *, now: datetime, new_id: Callable[[], str]) -> tuple[dict[str, str], dict[str, str]]:
        """Headers and form fields that show who asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """RFC 6749, 2.3.1: HTTP Basic."""

    token_url: str
    client_id: str
    secret: str = field(repr=False)
    scope: str = ""

    def proof(self, *, now: datetime, new_id: Callable[[], str]) -> tuple[dict[str, str], dict[str, str]]:  # noqa: ARG002
        pair = f"{quote(self.client_id, safe='')}:{quote(self.secret, safe='')}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateKey:
    """SMART backend services: a signed assertion. An RSA key signs RS384, a P-384 key ES384."""

    token_url: str
    client_id: str
    #: PEM, PKCS #8
    key: str = field(repr=False)
    #: names the key in the set that the authorization server knows
    key_id: str
    scope: str = "system/*.rs"

    def proof(self, *, now: datetime, new_id: Callable[[], str]) -> tuple[dict[str, str], dict[str, str]]:
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.token_url,
            "exp": int((now + ASSERTION_LIFE).timestamp()),
            "iat": int(now.timestamp()),
            "jti": new_id(),
        }
        return {}, {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self._signed(claims)}

    def _signed(self, claims: dict[str, Any]) -> str:
        """A JSON Web Token (RFC 7519). Raises TokenRefused for a key that cannot be used."""
        try:
            key = load_pem_private_key(self.key.encode(), password=None)
        except (ValueError, TypeError):
            raise TokenRefused("The private key cannot be read.") from None
        name = "RS384" if isinstance(key, rsa.RSAPrivateKey) else "ES384"
        head = {"alg": name, "kid": self.key_id, "typ": "JWT"}
        signing = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(signing.encode(), padding.PKCS1v15(), hashes.SHA384())
        elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1):
            r, s = utils.decode_dss_signature(key.sign(signing.encode(), ec.ECDSA(hashes.SHA384())))
            signature = r.to_bytes(48) + s.to_bytes(48)  # RFC 7518, 3.4
        else:
            raise TokenRefused("The private key is neither RSA nor P-384.")
        return f"{signing}.{_base64(signature)}"


@dataclass(slots=True, kw_only=True, repr=False)
class Tokens:
    """One access token for any number of threads."""

    credentials: Credentials
    client: httpx.Client
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    _token: str = ""
    _ends: datetime | None = None
    _lock: Lock = field(default_factory=Lock)

    def current(self) -> str:
        """Raises TokenRefused, FhirUnavailable, AddressRefused."""
        with self._lock:
            if self._ends is None or self.now() >= self._ends:
                self._token, life = self._ask()
                self._ends = self.now() + max(life - MARGIN, life / 2)
            return self._token

    def reject(self, token: str) -> None:
        """The FHIR server did not take `token`: the next one is asked for anew."""
        with self._lock:
            if token == self._token:
                self._ends = None

    def _ask(self) -> tuple[str, timedelta]:
        headers, fields = self.credentials.proof(now=self.now(), new_id=self.new_id)
        form = {"grant_type": "client_credentials"} | fields
        form |= {"scope": self.credentials.scope} if self.credentials.scope else {}
        headers |= {"accept": "application/json", "accept-encoding": "identity"}
        try:
            with self.client.stream("POST", self.credentials.token_url, data=form, headers=headers) as answer:
                body = b"".join(_at_most(answer.iter_bytes(), ANSWER_BYTES))
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError):
            raise FhirUnavailable("token") from None
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            after = answer.headers.get("retry-after", "")
            raise FhirUnavailable("token", http_status=answer.status_code, retry_after=after)
        return _granted(answer.status_code, body)


def _granted(status: int, body: bytes) -> tuple[str, timedelta]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    said = said if isinstance(said, dict) else {}
    token, life = said.get("access_token"), said.get("expires_in")
    if status != httpx.codes.OK or not isinstance(token, str) or not _B64TOKEN.fullmatch(token):
        reason = said.get("error")
        raise TokenRefused(f"{status} {reason}" if reason in OAUTH_ERRORS else str(status))
    if isinstance(life, int | float) and 0 < life <= LONGEST_LIFE:
        return token, timedelta(seconds=life)
    return token, DEFAULT_LIFE


def _at_most(chunks: Any, room: int) -> Any:
    for chunk in chunks:
        room -= len(chunk)
        if room < 0:
            raise FhirUnavailable("token")
        yield chunk


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
