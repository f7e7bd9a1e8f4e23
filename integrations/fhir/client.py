"""Client: one FHIR R4 server, asked over HTTP.

In: an httpx client (`worker.pinned.pinned_client`, which holds the time limit and the operator's list), the
server's base, tokens. Out: resources as JSON, or errors of which none quotes a URL, an answer or a case. It
logs nothing, and goes nowhere but to its own server.

    2xx                         the resource
    401                         once more with a new token
    429, 5xx, 408, 409          FhirUnavailable, with Retry-After as it came: worth another try
    no answer, no FHIR in it    FhirUnavailable
    3xx, any other 4xx          FhirRejected, with the codes of the OperationOutcome
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

import httpx

from integrations.fhir.elements import Element, each, text
from integrations.fhir.resources import TYPE_AND_ID
from integrations.fhir.subscription import Content
from integrations.fhir.terms import ISSUE_TYPES
from integrations.fhir.token import Tokens
from worker import __version__
from worker.errors import FhirRejected, FhirUnavailable

JSON: Final = "application/fhir+json"
ANSWER_BYTES: Final = 32 * 1024 * 1024
#: of a search; what lies beyond is met at the next poll
PAGES: Final = 50
#: 409 is two transactions that met; 408 a request that came too slowly
RETRYABLE: Final = frozenset({408, 409, 425, 429})

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FhirServer:
    """`base` as configured, without a slash at its end. `tokens` is None where the network is trusted."""

    base: str
    client: httpx.Client
    tokens: Tokens | None = None
    answer_bytes: int = ANSWER_BYTES

    def read(self, reference: str) -> dict[str, Any]:
        """The resource behind a relative reference, or an absolute one on this server.

        Raises FhirRejected (404 too where the reference leads elsewhere), FhirUnavailable, TokenRefused,
        AddressRefused; so do all below.
        """
        own = TYPE_AND_ID.search(reference)
        if own is None or reference not in self._names(own):
            raise FhirRejected(404, ("not-found",))
        return self._ask("GET", f"{self.base}/{own[1]}/{own[2]}")

    def search(self, kind: str, parameters: Pairs, *, pages: int = PAGES) -> Iterator[dict[str, Any]]:
        """The pages of a search, each a Bundle. A next page elsewhere than on this server is not opened."""
        url = f"{self.base}/{kind}?{urlencode(parameters)}"
        for _ in range(pages):
            page = self._ask("GET", url)
            yield page
            following = next((text(link, "url") for link in each(page, "link") if _is_next(link)), "")
            if not following:
                return
            url = self._own(following)

    def transact(self, bundle: Element) -> dict[str, Any]:
        """One transaction. Raises FhirRejected too when an entry of the answer says that it failed."""
        answer = self._ask("POST", self.base, bundle, {"prefer": "return=minimal"})
        statuses = [text(_response(entry), "status")[:3] for entry in each(answer, "entry")]
        if text(answer, "type") != "transaction-response" or len(statuses) != len(each(bundle, "entry")):
            raise FhirUnavailable("unreadable")
        failed = [status for status in statuses if not status.startswith("2")]
        if failed:
            raise FhirRejected(int(failed[0]) if failed[0].isdigit() else 500)
        return answer

    def create(self, resource: Element, *, if_none_exist: str = "") -> dict[str, Any]:
        """A resource; none is made where the search `if_none_exist` (`identifier=system|value`) finds one."""
        headers = {"prefer": "return=representation"}
        headers |= {"if-none-exist": if_none_exist} if if_none_exist else {}
        return self._ask("POST", f"{self.base}/{resource['resourceType']}", resource, headers)

    def events(self, subscription_id: str, gap: range, content: Content) -> dict[str, Any]:
        """The events of a gap: the answer of `$events`, which `subscription.notice` reads."""
        query = urlencode(
            {"eventsSinceNumber": gap.start, "eventsUntilNumber": gap.stop - 1, "content": content.value}
        )
        return self._ask("GET", f"{self.base}/Subscription/{quote(subscription_id, safe='')}/$events?{query}")

    def _names(self, own: Any) -> set[str]:
        """The ways to write a reference to a resource of this server."""
        name = own[0].lstrip("/")
        return {name, f"{self.base}/{name}"}

    def _own(self, url: str) -> str:
        """A link of this server, relative or not. Raises FhirUnavailable for one that leads elsewhere."""
        try:
            here, there = urlsplit(self.base), urlsplit(urljoin(f"{self.base}/", url))
        except ValueError:
            raise FhirUnavailable("link") from None
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise FhirUnavailable("link")
        return there.geturl()

    def _ask(
        self, method: str, url: str, body: Element | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        answer, content = self._send(method, url, body, headers or {})
        if answer.status_code == httpx.codes.UNAUTHORIZED and self.tokens is not None:
            self.tokens.reject(answer.request.headers["authorization"].removeprefix("Bearer "))
            answer, content = self._send(method, url, body, headers or {})
        return _judged(answer, content)

    def _send(
        self, method: str, url: str, body: Element | None, extra: Mapping[str, str]
    ) -> tuple[httpx.Response, bytes]:
        headers = {
            "accept": JSON,
            "accept-encoding": "identity",
            "user-agent": f"pathlane/{__version__}",
            **extra,
        }
        if self.tokens is not None:
            headers["authorization"] = f"Bearer {self.tokens.current()}"
        content = None
        if body is not None:
            content = json.dumps(body, separators=(",", ":")).encode()
            headers["content-type"] = JSON
        try:
            with self.client.stream(method, url, content=content, headers=headers) as answer:
                return answer, _read(answer, self.answer_bytes)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError) as error:
            raise FhirUnavailable(_word(error)) from None


def _read(answer: httpx.Response, room: int) -> bytes:
    chunks = []
    for chunk in answer.iter_bytes():
        room -= len(chunk)
        if room < 0:
            raise FhirUnavailable("too_large", http_status=answer.status_code)
        chunks.append(chunk)
    return b"".join(chunks)


def _judged(answer: httpx.Response, content: bytes) -> dict[str, Any]:
    status = answer.status_code
    resource = _resource(content)
    if answer.is_success:
        if resource is None:
            raise FhirUnavailable("unreadable", http_status=status)
        return resource
    if status in RETRYABLE or answer.is_server_error:
        after = answer.headers.get("retry-after", "")
        raise FhirUnavailable("busy", http_status=status, retry_after=after)
    raise FhirRejected(status, _issues(resource or {}))


def _resource(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("resourceType"), str) else None


def _issues(outcome: Element) -> tuple[str, ...]:
    """What an OperationOutcome says, in the words of R4's IssueType: its texts may quote a case."""
    said = (text(issue, "code") for issue in each(outcome, "issue"))
    return tuple(dict.fromkeys(code for code in said if code in ISSUE_TYPES))


def _is_next(link: Element) -> bool:
    return text(link, "relation") == "next"


def _response(entry: Element) -> Element:
    response = entry.get("response")
    return response if isinstance(response, dict) else {}


#: the nearest class decides; of a failed connection, what the OSError behind it says, where that is more
_WORDS: Final[dict[type[BaseException], str]] = {
    httpx.TimeoutException: "timeout",
    httpx.ConnectError: "unreachable",
    httpx.NetworkError: "dropped",
    httpx.RemoteProtocolError: "dropped",
    httpx.UnsupportedProtocol: "url",
    httpx.InvalidURL: "url",
    UnicodeError: "url",
    httpx.HTTPError: "transport",
    httpx.StreamError: "transport",
    socket.gaierror: "dns",
    ssl.SSLError: "tls",
    ConnectionRefusedError: "refused",
}


def _word(error: BaseException) -> str:
    for known in (error.__cause__ if isinstance(error, httpx.NetworkError) else None, error):
        for base in type(known).__mro__:
            if base in _WORDS:
                return _WORDS[base]
    return "transport"
