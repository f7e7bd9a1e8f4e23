"""Clients that were not written here send to the listener, and take its answer for one."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import hl7
import pytest

from integrations.hl7.message import parse
from integrations.hl7.orders import read_orders
from integrations.hl7.profiles import profile_of
from tests.peers import CLIENTS, npm_peers, send_with
from tests.unit.hl7.messages import LAB_104, message
from worker.jobs.order import Verb

MLLP_SEND = Path(sys.executable).with_name("mllp_send")


@pytest.fixture(scope="session")
def peers(pytestconfig):
    return npm_peers(Path(pytestconfig.cache.mkdir("npm-peers")))


@pytest.fixture
def files(tmp_path):
    """An image that is available, and the same image removed."""
    first, second = tmp_path / "available.hl7", tmp_path / "removed.hl7"
    first.write_bytes(message(control_id="PEER1"))
    second.write_bytes(message(LAB_104.replace("||Y||", "||N||"), control_id="PEER2"))
    return [first, second]


def verbs(handler):
    return [read_orders(parse(raw), profile_of("ihe-dpow"))[0].verb for raw in handler.messages]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_from_npm_takes_aa_by_orl_o22_for_each_message(client, peers, listener, handler, files):
    printed = send_with(peers / client, "127.0.0.1", listener.port, files)
    assert printed.count("ORL^O22") == 2
    assert "MSA|AA|PEER1" in printed
    assert "MSA|AA|PEER2" in printed
    assert verbs(handler) == [Verb.AVAILABLE, Verb.WITHDRAWN]


@pytest.mark.parametrize("client", CLIENTS)
def test_letters_beyond_ascii_arrive_as_they_were_sent(client, peers, listener, handler, files):
    send_with(peers / client, "127.0.0.1", listener.port, files[:1])
    assert parse(handler.messages[0]).get("PID", 5) == "MÜLLER"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_from_npm_is_told_what_is_refused(client, peers, listener, tmp_path):
    file = tmp_path / "wrong.hl7"
    file.write_bytes(message(control_id="PEER3", charset="UNICODE UTF-16"))
    printed = send_with(peers / client, "127.0.0.1", listener.port, [file])
    assert "MSA|AR|PEER3|The message's character set is not supported." in printed
    assert "ERR||MSH^1^18|103^" in printed


def test_mllp_send_takes_aa_by_orl_o22(listener, handler, files):
    assert version("hl7").startswith("0.4.")
    command = [str(MLLP_SEND), "--loose", "--file", str(files[0]), "--port", str(listener.port), "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    reply = hl7.parse(done.stdout.strip(b"\x0b\x1c\r\n ").decode().replace("\n", "\r"))
    assert str(reply["MSA.F1"]) == "AA"
    assert str(reply["MSA.F2"]) == "PEER1"
    assert str(reply.segment("MSH")[9]) == "ORL^O22^ORL_O22"
    assert verbs(handler) == [Verb.AVAILABLE]


def test_mllp_send_may_send_the_same_message_again(listener, handler, files):
    command = [str(MLLP_SEND), "--loose", "--file", str(files[0]), "--port", str(listener.port), "127.0.0.1"]
    assert [subprocess.run(command, capture_output=True, timeout=60).returncode for _ in range(2)] == [0, 0]
    assert handler.messages[0] == handler.messages[1]


def test_the_client_of_python_hl7_reads_every_answer(listener):
    from hl7.client import MLLPClient

    with MLLPClient("127.0.0.1", listener.port, encoding="utf-8") as client:
        for number in range(20):
            reply = hl7.parse(
                client.send_message(message(control_id=str(number)).decode()).strip(b"\x0b\x1c\r").decode()
            )
            assert str(reply["MSA.F2"]) == str(number)
