"""Attempts over real sockets: every way a receiver can answer, and how long it can take."""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from integrations.webhooks.delivery import attempt
from integrations.webhooks.signing import Secret
from tests.integration.webhooks.receiver import Receiver, drip, drop, flood, full_house, says, silence, status
from worker.address import AllowList
from worker.jobs.event import DeliveryStatus
from worker.pinned import pinned_client

PENDING, DELIVERED = DeliveryStatus.PENDING, DeliveryStatus.DELIVERED
SECONDS = 0.5
SLACK = 1.0


def open_client(seconds: float):
    # No authorities: loading them takes a tenth of a second, and nobody here shows a certificate.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return pinned_client(AllowList.of(["127.0.0.1"]), seconds=seconds, plain_http=True, tls=tls)


@pytest.fixture
def client():
    with open_client(SECONDS) as client:
        yield client


@pytest.fixture
def patient_client():
    with open_client(10) as client:
        yield client


def send(delivery, client, *, after: float = 0):
    return attempt(delivery, client, now=datetime.now(UTC) + timedelta(seconds=after), chance=0.5)


def test_a_delivery_arrives_with_a_signature_that_the_reference_package_verifies(
    receiver, a_delivery, client
):
    delivery = a_delivery(receiver.url())
    assert send(delivery, client).status is DELIVERED
    (request,) = receiver.received
    assert request.path == "/in"
    assert request.body == delivery.body
    assert request.headers["webhook-id"] == delivery.id


def test_a_receiver_that_fails_three_times_gets_the_same_id_with_new_timestamps(receiver, a_delivery, client):
    receiver.will(status(500), drop, silence, status(200))
    outcomes = [
        send(a_delivery(receiver.url(), attempt=number), client, after=number * 5) for number in range(1, 5)
    ]
    assert [o.reason for o in outcomes] == ["not_accepted", "dropped", "timeout", ""]
    assert [o.status for o in outcomes] == [PENDING, PENDING, PENDING, DELIVERED]
    assert {r.headers["webhook-id"] for r in receiver.received} == {"msg_1"}
    assert len({r.headers["webhook-timestamp"] for r in receiver.received}) == 4
    assert len({r.headers["webhook-signature"] for r in receiver.received}) == 4
    assert len({r.body for r in receiver.received}) == 1


def test_during_a_rotation_receivers_with_the_old_and_the_new_secret_both_verify(
    receiver, a_delivery, client
):
    new = Secret.new(lambda count: b"n" * count).text
    delivery = a_delivery(receiver.url())
    both = a_delivery(receiver.url(), secrets=(new, *delivery.endpoint.secrets))
    assert send(both, client).status is DELIVERED
    receiver.verify(new)


def test_410_says_gone(receiver, a_delivery, client):
    receiver.will(status(410))
    assert send(a_delivery(receiver.url()), client).status is DeliveryStatus.GONE


def test_a_busy_receiver_is_given_the_seconds_it_asks_for(receiver, a_delivery, client):
    receiver.will(status(429, retry_after="100"))
    assert send(a_delivery(receiver.url()), client).wait == timedelta(seconds=110)


def test_a_busy_receiver_is_given_until_the_date_it_asks_for(receiver, a_delivery, client):
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    receiver.will(status(503, retry_after=until))
    wait = send(a_delivery(receiver.url()), client).wait
    assert timedelta(seconds=105) < wait < timedelta(seconds=115)


def test_a_redirect_is_a_failure_and_nobody_follows_it(receiver, a_delivery, client):
    elsewhere = Receiver(address="127.0.0.2", ways=[status(200)])
    with elsewhere.listening():
        for code in (301, 302, 303, 307, 308):
            receiver.will(status(code, location=elsewhere.url()))
            outcome = send(a_delivery(receiver.url()), client)
            assert (outcome.status, outcome.reason, outcome.http_status) == (PENDING, "redirect", code)
    assert elsewhere.received == []


def test_nobody_listening_is_told_as_refused(a_delivery, client):
    with Receiver().listening() as closed:
        url = closed.url()
    assert send(a_delivery(url), client).reason == "refused"


class TestTimeLimit:
    """However a receiver spends the time, an attempt ends after SECONDS."""

    @pytest.fixture(autouse=True)
    def _ends_in_time(self):
        began = time.monotonic()
        yield
        assert time.monotonic() - began < SECONDS + SLACK

    def test_silence(self, receiver, a_delivery, client):
        receiver.will(silence)
        assert send(a_delivery(receiver.url()), client).reason == "timeout"

    def test_a_drip_of_headers(self, receiver, a_delivery, client):
        receiver.will(drip(b"HTTP/1.1 200 OK\r\nx-slow: "))
        assert send(a_delivery(receiver.url()), client).reason == "timeout"

    def test_a_drip_of_body_after_a_status_that_counts(self, receiver, a_delivery, client):
        receiver.will(drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"))
        assert send(a_delivery(receiver.url()), client).status is DELIVERED

    def test_a_drip_of_body_after_a_status_that_does_not(self, receiver, a_delivery, client):
        receiver.will(drip(b"HTTP/1.1 500 Oh\r\ncontent-length: 100000\r\n\r\n"))
        assert send(a_delivery(receiver.url()), client).http_status == 500

    def test_a_connection_that_is_never_made(self, a_delivery, client):
        with full_house() as port:
            assert send(a_delivery(f"http://127.0.0.1:{port}/in"), client).reason == "timeout"

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_connection_that_is_never_taken_up(self, a_delivery, client, scheme):
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            url = f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}/in"
            assert send(a_delivery(url), client).reason == "timeout"

    def test_a_body_that_is_never_read(self, a_delivery, client):
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            delivery = a_delivery(f"http://127.0.0.1:{deaf.getsockname()[1]}/in")
            large = replace(delivery, body=b"x" * 20_000_000)
            assert send(large, client).reason == "timeout"

    def test_a_name_server_that_never_answers(self, a_delivery):
        listed = AllowList.of(["lis.example.org"])
        with pinned_client(
            listed, seconds=SECONDS, resolve=lambda *_: time.sleep(SECONDS + SLACK) or []
        ) as client:
            assert send(a_delivery("https://lis.example.org/in"), client).reason == "timeout"


def test_of_an_endless_answer_only_the_beginning_is_read(receiver, a_delivery, patient_client):
    receiver.will(flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536))
    began = time.monotonic()
    assert send(a_delivery(receiver.url()), patient_client).status is DELIVERED
    assert time.monotonic() - began < SLACK


def test_endless_headers_are_no_answer(receiver, a_delivery, patient_client):
    receiver.will(flood(b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n" * 1000))
    began = time.monotonic()
    assert send(a_delivery(receiver.url()), patient_client).reason == "dropped"
    assert time.monotonic() - began < SLACK


@pytest.mark.parametrize(
    "text", [b"", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100]
)
def test_what_is_not_http_is_no_answer(receiver, a_delivery, client, text):
    receiver.will(says(text))
    outcome = send(a_delivery(receiver.url()), client)
    assert (outcome.status, outcome.reason) == (PENDING, "dropped")


def test_an_answer_that_breaks_off_after_200_counts(receiver, a_delivery, client):
    receiver.will(says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok"))
    assert send(a_delivery(receiver.url()), client).status is DELIVERED


def test_no_cookie_of_one_answer_goes_with_the_next_request(receiver, a_delivery, client):
    receiver.will(status(200, set_cookie="tracked=yes; Path=/"))
    for number in (1, 2):
        assert send(a_delivery(receiver.url(), number=number), client).status is DELIVERED
    assert not [r for r in receiver.received if "cookie" in r.headers]


def test_many_threads_share_one_client_and_each_delivery_arrives_once(receiver, a_delivery, patient_client):
    deliveries = [a_delivery(receiver.url(), number=number) for number in range(60)]
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda delivery: send(delivery, patient_client), deliveries))
    assert {outcome.status for outcome in outcomes} == {DELIVERED}
    assert sorted(r.headers["webhook-id"] for r in receiver.received) == sorted(d.id for d in deliveries)
