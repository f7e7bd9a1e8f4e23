"""One attempt against a receiver made of a function: what is sent, and what comes of every answer."""

from __future__ import annotations

import inspect
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

import worker
from integrations.webhooks.delivery import ANSWER_BYTES, attempt, reason_of
from integrations.webhooks.signing import Secret, verify
from worker.address import AllowList
from worker.errors import AddressRefused
from worker.jobs.event import Delivery, DeliveryStatus, Endpoint, EndpointStatus, EventType, Outcome, Payload
from worker.pinned import pinned_client

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRETS = tuple(Secret.new(lambda count, letter=letter: letter * count) for letter in (b"n", b"o"))
BODY = '{"type":"job.succeeded","data":{"job_id":"job_1","é":1}}'.encode()


def a_delivery(
    number: int = 1, secrets: tuple[str, ...] = (SECRETS[0].text,), url: str = "https://lis.example/in"
):
    endpoint = Endpoint(
        id="ep_1", name="lis", url=url, status=EndpointStatus.ACTIVE, event_types=tuple(EventType),
        payload=Payload.THIN, secrets=secrets,
    )  # fmt: skip
    return Delivery(
        id="msg_1", job_id="job_1", endpoint=endpoint, event_type=EventType.JOB_SUCCEEDED, body=BODY,
        attempt=number,
    )  # fmt: skip


def send(receiver, delivery: Delivery | None = None, chance: float = 0.5) -> Outcome:
    with httpx.Client(transport=httpx.MockTransport(receiver)) as client:
        return attempt(delivery or a_delivery(), client, now=NOW, chance=chance)


def answers(status: int, **headers: str) -> Outcome:
    return send(
        lambda _: httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()})
    )


def test_the_body_goes_out_as_it_stands_under_its_id_signed_with_the_time_of_the_attempt():
    received: list[httpx.Request] = []

    def receive(request: httpx.Request) -> httpx.Response:
        received.append(request)
        return httpx.Response(204)

    assert send(receive).status is DeliveryStatus.DELIVERED
    (request,) = received
    assert request.method == "POST"
    assert request.content == BODY
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"pathlane/{worker.__version__}"
    verify([SECRETS[0]], dict(request.headers), request.content, now=NOW)


def test_during_a_rotation_every_attempt_carries_both_signatures():
    def receive(request: httpx.Request) -> httpx.Response:
        for secret in SECRETS:
            verify([secret], dict(request.headers), request.content, now=NOW)
        return httpx.Response(200)

    both = a_delivery(secrets=tuple(secret.text for secret in SECRETS))
    assert send(receive, both).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226])
def test_2xx_is_delivered(status):
    assert answers(status) == Outcome(status=DeliveryStatus.DELIVERED, http_status=status)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_3xx_is_a_failure_and_is_not_followed(status):
    asked: list[str] = []

    def receive(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status, headers={"location": "https://elsewhere.example/"})

    outcome = send(receive)
    assert outcome == Outcome(
        status=DeliveryStatus.PENDING, wait=timedelta(seconds=5), http_status=status, reason="redirect"
    )
    assert asked == ["https://lis.example/in"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://xn--a/", "url"),  # httpx reads where a redirect leads even when it is not followed
        ("//xn--/", "url"),
        ("http://[", "redirect"),
        ("https://lis.example:99999/", "redirect"),
        ("", "redirect"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_an_outcome_too(location, reason):
    outcome = answers(302, location=location)
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, reason)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 501, 505])
def test_any_other_status_is_tried_again_on_the_schedule(status):
    wait = timedelta(seconds=5)
    expected = Outcome(status=DeliveryStatus.PENDING, wait=wait, http_status=status, reason="not_accepted")
    assert answers(status, retry_after="3600") == expected


def test_410_says_gone():
    assert answers(410) == Outcome(status=DeliveryStatus.GONE, http_status=410, reason="gone")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("retry_after", ["120", "Mon, 23 Nov 2026 12:02:00 GMT"])
def test_a_busy_receiver_is_given_the_time_it_asks_for(status, retry_after):
    outcome = answers(status, retry_after=retry_after)
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "busy")
    assert outcome.wait == timedelta(seconds=120) * 1.1


def test_a_busy_receiver_that_asks_for_nothing_readable_gets_the_schedule():
    assert answers(429).wait == answers(429, retry_after="later").wait == timedelta(seconds=5)


def test_the_last_failure_leaves_the_delivery_exhausted():
    outcome = send(lambda _: httpx.Response(500), a_delivery(number=10))
    assert outcome == Outcome(status=DeliveryStatus.EXHAUSTED, http_status=500, reason="not_accepted")


def test_an_address_that_is_refused_is_tried_again_since_the_operator_may_list_it():
    outcome = send(raises(AddressRefused()))
    expected = Outcome(status=DeliveryStatus.PENDING, wait=timedelta(seconds=5), reason="address_refused")
    assert outcome == expected


def test_a_secret_that_cannot_be_read_is_an_outcome_too_and_nothing_is_sent():
    outcome = send(raises(AssertionError()), a_delivery(secrets=("whsec_short",)))
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "secret")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://", "url"),
        ("lis.example/in", "url"),
        ("ftp://lis.example/", "url"),
        ("https://lis.example:x/", "url"),
        ("https://[::1", "url"),
        ("https://xn--a/", "url"),
        ("https://lis.example:99999/", "address_refused"),
        ("http://lis.example/", "address_refused"),
        ("https://user:word@lis.example/", "address_refused"),
    ],
)
def test_a_url_that_leads_nowhere_is_an_outcome_too(url, reason):
    with pinned_client(AllowList(), seconds=1) as client:
        outcome = attempt(a_delivery(url=url), client, now=NOW, chance=0.5)
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, reason)


WORDS = {
    httpx.TransportError: "transport",
    httpx.TimeoutException: "timeout",
    httpx.ConnectTimeout: "timeout",
    httpx.ReadTimeout: "timeout",
    httpx.WriteTimeout: "timeout",
    httpx.PoolTimeout: "timeout",
    httpx.NetworkError: "dropped",
    httpx.ConnectError: "unreachable",
    httpx.ReadError: "dropped",
    httpx.WriteError: "dropped",
    httpx.CloseError: "dropped",
    httpx.ProtocolError: "unsendable",
    httpx.LocalProtocolError: "unsendable",
    httpx.RemoteProtocolError: "dropped",
    httpx.ProxyError: "proxy",
    httpx.UnsupportedProtocol: "url",
}


def test_the_words_below_are_for_all_transport_exceptions_of_httpx():
    classes = (cls for _, cls in inspect.getmembers(httpx, inspect.isclass))
    assert {cls for cls in classes if issubclass(cls, httpx.TransportError)} == set(WORDS)


@pytest.mark.parametrize("kind", [*WORDS, httpx.DecodingError, httpx.TooManyRedirects])
def test_every_exception_of_httpx_is_an_outcome_with_a_word(kind):
    outcome = send(raises(kind("secret text")))
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, WORDS.get(kind, "transport"))


@pytest.mark.parametrize(
    ("behind", "word"),
    [
        (ConnectionRefusedError(), "refused"),
        (socket.gaierror(), "dns"),
        (ssl.SSLCertVerificationError(), "tls"),
        (OSError(), "unreachable"),
        (None, "unreachable"),
    ],
)
def test_a_connection_that_fails_is_told_by_what_is_behind_it(behind, word):
    error = httpx.ConnectError("")
    error.__cause__ = behind
    assert reason_of(error) == word


class Answer(httpx.SyncByteStream):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks


def test_of_an_endless_answer_only_the_beginning_is_read():
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1024
            yield b"x" * 1024

    outcome = send(lambda _: httpx.Response(200, stream=Answer(endless())))
    assert outcome.status is DeliveryStatus.DELIVERED
    assert taken <= ANSWER_BYTES + 1024


def test_a_2xx_counts_even_if_its_answer_breaks_off():
    def broken() -> Iterator[bytes]:
        yield b"o"
        raise httpx.ReadError("")

    assert send(lambda _: httpx.Response(200, stream=Answer(broken()))).status is DeliveryStatus.DELIVERED


def raises(error: BaseException):
    def receive(_: httpx.Request) -> httpx.Response:
        raise error

    return receive
