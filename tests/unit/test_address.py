"""The operator's list as a rule: which names and addresses it allows. No name is looked up, nothing connects."""

from __future__ import annotations

import inspect

import httpcore
import httpx
import pytest

from worker import address, pinned
from worker.address import SPECIAL, AllowList
from worker.errors import AddressRefused
from worker.pinned import pinned_client


def allows(entries: list[str], host: str, answers: list[str], port: int = 443) -> bool:
    listed = AllowList.of(entries)
    if not listed.may_allow(host, port):
        return False
    try:
        listed.check(host, port, answers)
    except AddressRefused:
        return False
    return True


def test_an_empty_list_allows_nothing():
    assert not allows([], "lis.example.org", ["10.1.2.3"])
    assert not allows([], "93.184.216.34", ["93.184.216.34"])


@pytest.mark.parametrize(
    "answer", ["10.1.2.3", "172.16.0.9", "192.168.1.1", "fd12::3", "93.184.216.34", "2600::1"]
)
def test_a_listed_name_may_stand_for_any_private_or_public_address(answer):
    assert allows(["lis.example.org"], "lis.example.org", [answer])


@pytest.mark.parametrize(
    "answer",
    [
        "127.0.0.1",  # loopback
        "127.8.9.10",
        "::1",
        "0.0.0.0",  # unspecified: this machine
        "::",
        "169.254.1.1",  # link-local
        "fe80::1",
        "fe80::1%eth0",
        "169.254.169.254",  # cloud metadata
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",  # multicast and broadcast
        "ff02::1",
        "255.255.255.255",
        "::ffff:10.1.2.3",  # IPv4 in IPv6: mapped, compatible, NAT64, Teredo, 6to4
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2001::1",
        "2002:7f00:1::",
    ],
)
class TestSpecialAddresses:
    def test_a_listed_name_does_not_open_them(self, answer):
        assert not allows(["lis.example.org"], "lis.example.org", [answer])

    def test_a_network_of_everything_does_not_open_them(self, answer):
        assert not allows(["0.0.0.0/0", "::/0", "10.0.0.0/8", "fd00::/8"], "lis.example.org", [answer])

    def test_the_address_itself_on_the_list_opens_them(self, answer):
        host = answer.partition("%")[0]
        assert allows([host], host, [host])


def test_a_network_that_holds_only_special_addresses_opens_them_for_any_name():
    assert allows(["127.0.0.0/8"], "localhost", ["127.0.0.1"])
    assert allows(["169.254.10.0/24"], "scanner.example", ["169.254.10.7"])
    assert not allows(["126.0.0.0/7"], "localhost", ["127.0.0.1"])


def test_a_network_that_holds_metadata_among_other_link_local_addresses_opens_it():
    assert allows(["169.254.0.0/16"], "169.254.169.254", ["169.254.169.254"])


def test_every_answer_must_be_allowed():
    assert not allows(["lis.example.org"], "lis.example.org", ["10.1.2.3", "127.0.0.1"])
    assert not allows(["10.1.0.0/16"], "lis.example.org", ["10.1.2.3", "10.2.2.3"])


def test_a_name_that_is_not_listed_is_allowed_where_all_its_addresses_are():
    assert allows(["10.1.0.0/16"], "lis.example.org", ["10.1.2.3", "10.1.2.4"])


def test_a_listed_name_does_not_allow_other_names_nor_its_address():
    assert not allows(["lis.example.org"], "evil.example.org", ["10.1.2.3"])
    assert not allows(["lis.example.org"], "xlis.example.org", ["10.1.2.3"])
    assert not allows(["lis.example.org"], "a.lis.example.org", ["10.1.2.3"])
    assert not allows(["lis.example.org"], "10.1.2.3", ["10.1.2.3"])


def test_a_star_stands_for_every_name_below_and_not_for_the_name_itself():
    assert allows(["*.lab.example"], "lis.lab.example", ["10.1.2.3"])
    assert allows(["*.lab.example"], "a.lis.lab.example", ["10.1.2.3"])
    assert not allows(["*.lab.example"], "lab.example", ["10.1.2.3"])
    assert not allows(["*.lab.example"], "evillab.example", ["10.1.2.3"])


def test_names_are_compared_without_case_final_stop_or_alphabet():
    assert allows(["LIS.Example.org."], "lis.example.ORG", ["10.1.2.3"])
    assert allows(["lis.example.org"], "lis.example.org.", ["10.1.2.3"])
    assert allows(["bücher.example"], "xn--bcher-kva.example", ["10.1.2.3"])


@pytest.mark.parametrize(
    ("entry", "host", "answer"),
    [
        ("lis.example.org:8443", "lis.example.org", "10.1.2.3"),
        ("*.example.org:8443", "lis.example.org", "10.1.2.3"),
        ("10.1.0.0/16:8443", "10.1.2.3", "10.1.2.3"),
        ("10.1.2.3:8443", "10.1.2.3", "10.1.2.3"),
        ("[::1]:8443", "::1", "::1"),
        ("[fd12::/48]:8443", "fd12::1", "fd12::1"),
    ],
)
def test_an_entry_with_a_port_allows_that_port_only(entry, host, answer):
    assert allows([entry], host, [answer], port=8443)
    assert not allows([entry], host, [answer], port=443)
    assert allows([entry.rpartition(":")[0] + ":*"], host, [answer], port=1)


@pytest.mark.parametrize(
    "entry", ["lis.example.org", "10.1.0.0/16", "fd12::/48", "[fd12::/48]", "::1", "lis.example.org:*"]
)
def test_an_entry_without_a_port_allows_every_port(entry):
    listed = AllowList.of([entry])
    assert all(listed.may_allow("lis.example.org", port) for port in (80, 443, 8443, 65535))
    assert not any(listed.may_allow("lis.example.org", port) for port in (-1, 0, 65536))


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.",
        "a b",
        "https://lis.example.org",
        "lis.example.org/hook",
        "lis.example.org:0",
        "lis.example.org:65536",
        "lis.example.org:https",
        "user@lis.example.org",
        "10.1.2",  # a shortened IPv4 address is not a name
        "10.1.2.256",
        "10.1.0.0/33",
        "10.1.2.3/16",  # host bits: is the address meant, or the network?
        "[lis.example.org",
        "lis.*.example",
    ],
)
def test_an_entry_that_cannot_be_read_is_named_by_its_number(entry):
    with pytest.raises(ValueError, match="entry 2 ") as refusal:
        AllowList.of(["lis.example.org", entry])
    assert len(entry) < 3 or entry not in str(refusal.value)


def test_a_name_that_no_entry_could_allow_is_not_even_looked_up():
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["10.1.2.3"]

    listed = AllowList.of(["lis.example.org", "10.1.0.0/16:8443"])
    with pinned_client(listed, seconds=1, resolve=resolve) as client, pytest.raises(AddressRefused):
        client.get("https://data-in-the-name.evil.example/")
    assert asked == []


def test_plain_http_is_refused_unless_it_is_switched_on():
    listed = AllowList.of(["lis.example.org"])
    with pinned_client(listed, seconds=1) as client, pytest.raises(AddressRefused, match="Only https"):
        client.get("http://lis.example.org/")


def test_special_blocks_are_none_that_laboratories_use():
    private = ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd12::1", "2600::1"]
    assert not [a for a in private for block in SPECIAL if address.ip_address(a) in block]


def test_every_exception_of_httpcore_becomes_one_of_httpx():
    # ConnectionNotAvailable is how a connection tells its pool to take another; it never leaves the pool.
    classes = {cls for _, cls in inspect.getmembers(httpcore, inspect.isclass) if issubclass(cls, Exception)}
    for cls in classes - {httpcore.ConnectionNotAvailable}:
        with pytest.raises(httpx.TransportError) as raised, pinned._translated():
            raise cls("what was sent")
        assert type(raised.value).__name__ == cls.__name__
        assert "what was sent" not in str(raised.value)
