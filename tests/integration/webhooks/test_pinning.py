"""Where the pinned client really connects: names that change their mind, proxies, redirects, TLS."""

from __future__ import annotations

import ssl
import time
from datetime import UTC, datetime

import httpx
import pytest

from integrations.webhooks.delivery import attempt
from tests.integration.webhooks.receiver import Receiver, drip, full_house, status
from worker.address import AllowList
from worker.errors import AddressRefused
from worker.jobs.event import DeliveryStatus
from worker.pinned import pinned_client, trusted_authorities

NAME = "lis.example.org"


class Names:
    """A name server that gives each answer once, and the last one from then on."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def open_client(
    entries: list[str], names: Names, tls: ssl.SSLContext | None = NO_AUTHORITIES
) -> httpx.Client:
    return pinned_client(AllowList.of(entries), seconds=2, plain_http=True, resolve=names, tls=tls)


def send(delivery, client):
    return attempt(delivery, client, now=datetime.now(UTC), chance=0.5)


def test_a_name_is_looked_up_once_and_the_checked_address_is_the_one_connected_to(receiver, a_delivery):
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    with open_client(["127.0.0.1"], names) as client:
        assert send(a_delivery(receiver.url(NAME)), client).status is DeliveryStatus.DELIVERED
    assert names.asked == [NAME]
    assert receiver.received[0].headers["host"] == f"{NAME}:{receiver.port}"


def test_a_name_that_changes_to_a_forbidden_address_is_refused_the_next_time(receiver, a_delivery):
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    with open_client(["127.0.0.1"], names) as client:
        outcomes = [send(a_delivery(receiver.url(NAME)), client) for _ in range(2)]
    assert [o.reason for o in outcomes] == ["", "address_refused"]
    assert outcomes[1].status is DeliveryStatus.PENDING
    assert len(receiver.received) == 1


def test_one_forbidden_answer_among_good_ones_refuses_them_all(receiver):
    with (
        open_client(["127.0.0.1"], Names(["127.0.0.1", "127.0.0.2"])) as client,
        pytest.raises(AddressRefused),
    ):
        client.post(receiver.url(NAME))
    assert receiver.received == []


def test_a_listed_name_that_stands_for_this_machine_is_refused(receiver):
    with open_client([NAME], Names(["127.0.0.1"])) as client, pytest.raises(AddressRefused):
        client.post(receiver.url(NAME))
    assert receiver.received == []


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "[::ffff:127.0.0.1]"]
)
def test_no_other_way_to_write_this_machine_gets_past_the_list(receiver, host):
    everything = AllowList.of(["0.0.0.0/0", "::/0"])
    refusals = (AddressRefused, httpx.ConnectError, httpx.InvalidURL)
    with pinned_client(everything, seconds=3, plain_http=True) as client, pytest.raises(refusals):
        client.post(receiver.url(host))
    assert receiver.received == []


def test_an_entry_with_another_port_does_not_allow_this_one(receiver):
    with open_client(["127.0.0.1:1"], Names(["127.0.0.1"])) as client, pytest.raises(AddressRefused):
        client.post(receiver.url())
    assert receiver.received == []


def test_when_the_first_address_does_not_answer_the_second_is_tried(receiver, a_delivery):
    with open_client(["127.0.0.0/8"], Names(["127.0.0.2", "127.0.0.1"])) as client:
        assert send(a_delivery(receiver.url(NAME)), client).status is DeliveryStatus.DELIVERED


def test_a_first_address_that_stays_silent_leaves_time_for_the_second(receiver, a_delivery):
    names = Names(["127.0.0.2", "127.0.0.1"])
    with full_house("127.0.0.2", receiver.port), open_client(["127.0.0.0/8"], names) as client:
        assert send(a_delivery(receiver.url(NAME)), client).status is DeliveryStatus.DELIVERED


def test_a_name_without_an_address_is_told_as_unreachable(a_delivery):
    with open_client([NAME], Names([])) as client:
        assert send(a_delivery(f"https://{NAME}/"), client).reason == "unreachable"


def test_a_name_that_does_not_exist_is_told_as_dns(a_delivery):
    with pinned_client(AllowList.of(["*.invalid"]), seconds=2) as client:
        outcome = send(a_delivery("https://lis.invalid/in"), client)
    assert outcome.reason in {"dns", "timeout"}


def test_proxies_in_the_environment_are_not_used(receiver, a_delivery, monkeypatch):
    proxy = Receiver(ways=[status(200)])
    with proxy.listening():
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
            monkeypatch.setenv(name.lower(), proxy.url())
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with open_client(["127.0.0.1"], Names(["127.0.0.1"])) as client:
            assert send(a_delivery(receiver.url(NAME)), client).status is DeliveryStatus.DELIVERED
    assert proxy.received == []


def test_a_redirect_to_a_forbidden_address_is_not_followed(receiver, a_delivery):
    metadata = Receiver(address="127.0.0.2", ways=[status(200)])
    with metadata.listening(), open_client(["127.0.0.1"], Names(["127.0.0.1"])) as client:
        receiver.will(status(307, location=metadata.url()))
        assert send(a_delivery(receiver.url(NAME)), client).reason == "redirect"
    assert metadata.received == []


def test_a_caller_who_follows_a_redirect_after_all_is_refused_at_the_list(receiver):
    metadata = Receiver(address="127.0.0.2", ways=[status(200)])
    with metadata.listening(), open_client(["127.0.0.1"], Names(["127.0.0.1"])) as client:
        receiver.will(status(307, location=metadata.url()))
        with pytest.raises(AddressRefused):
            client.post(receiver.url(NAME), follow_redirects=True)
    assert metadata.received == []
    receiver.received.clear()


def test_the_time_limit_holds_for_a_download_that_drips(receiver):
    receiver.will(drip(b"HTTP/1.1 200 OK\r\n\r\n"))
    began = time.monotonic()
    listed = AllowList.of(["127.0.0.1"])
    with pinned_client(listed, seconds=0.5, plain_http=True) as client, pytest.raises(httpx.ReadTimeout):
        client.post(receiver.url())
    assert time.monotonic() - began < 1.5
    receiver.received.clear()


def test_public_authorities_are_trusted_unless_others_are_given():
    assert trusted_authorities().cert_store_stats()["x509_ca"] > 50


class TestTLS:
    def test_the_certificate_is_checked_against_the_name_though_an_address_is_connected_to(
        self, tls_receiver, certificate, a_delivery
    ):
        receiver, asked_names = tls_receiver
        trusting = ssl.create_default_context(cafile=certificate[0])
        with open_client(["127.0.0.1"], Names(["127.0.0.1"]), trusting) as client:
            outcome = send(a_delivery(receiver.url(NAME, "https")), client)
        assert outcome.status is DeliveryStatus.DELIVERED
        assert asked_names == [NAME]
        assert receiver.received[0].headers["host"] == f"{NAME}:{receiver.port}"

    @pytest.mark.parametrize("host", ["other.example.org", "127.0.0.1"])
    def test_a_certificate_for_another_name_is_told_as_tls(self, tls_receiver, certificate, a_delivery, host):
        receiver, _ = tls_receiver
        trusting = ssl.create_default_context(cafile=certificate[0])
        with open_client(["127.0.0.1"], Names(["127.0.0.1"]), trusting) as client:
            outcome = send(a_delivery(receiver.url(host, "https")), client)
        assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "tls")
        assert receiver.received == []

    def test_a_certificate_of_an_unknown_authority_is_told_as_tls(self, tls_receiver, a_delivery):
        receiver, _ = tls_receiver
        with open_client(["127.0.0.1"], Names(["127.0.0.1"]), None) as client:
            assert send(a_delivery(receiver.url(NAME, "https")), client).reason == "tls"
        assert receiver.received == []
