"""A hospital's system says that a slide is scanned; the answer arrives where the lab works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hl7
import pytest

from integrations.demo import cases
from tests.acceptance.conftest import free_port
from tests.messages import STAT, lab_104
from tests.peers import npm_peers, running_server

pytest.importorskip("pynetdicom", reason="the extra `dicom` is not installed")

MLLP_SEND = str(Path(sys.executable).with_name("mllp_send"))


@pytest.fixture(scope="module")
def peers(tmp_path_factory, request):
    return npm_peers(Path(request.config.cache.mkdir("npm-peers")))


@pytest.fixture
def lis(peers):
    """simple-hl7's server, in the place of the lab's system."""
    with running_server(peers / "simple_hl7_server.js", free_port()) as server:
        yield server


@pytest.fixture
def site(own_up, lis, tmp_path, ihc):
    up = own_up("--lis", "--hl7-port", "0")
    up.run("endpoint", "add", "lis", f"mllp://127.0.0.1:{lis.port}")
    return up


@pytest.fixture
def series(site, tmp_path, ihc):
    """The series of a DICOM image in the embedded store."""
    told = site.run("archive", "add", str(cases._dicom(tmp_path, ihc)))
    return told.split()[-1]


def send(site, tmp_path, message):
    """By python-hl7's client; what it was answered."""
    file = tmp_path / "message.hl7"
    file.write_bytes(message.encode())
    host, port = site.hl7
    sent = subprocess.run(
        [MLLP_SEND, "--loose", "--file", str(file), "--port", port, host],
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    return hl7.parse(sent.stdout.decode().strip().replace("\n", "\r"))


def queued(site):
    return site.status()["queue"]


def test_an_image_notification_is_acknowledged_read_and_answered_to_the_lab(site, series, lis, tmp_path):
    answer = send(site, tmp_path, lab_104("MSG1", series=series, priority=STAT))
    assert str(answer.segment("MSH")[9]) == "ORL^O22^ORL_O22"
    assert [str(answer.segment("MSA")[n]) for n in (1, 2)] == ["AA", "MSG1"]

    result = hl7.parse(lis.next_message(120))
    assert str(result.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert str(result.segment("OBR")[25]) == "P"
    assert str(result.segment("ORC")[38]) == "S26-0001"
    assert str(result.segment("PID")[5]) == "MÜLLER^ZOË"
    observations = [str(value) for obx in result.segments("OBX") for value in obx[5]]
    assert any("Immunohistochemistry with DAB" in value for value in observations)
    assert {str(obx[11]) for obx in result.segments("OBX")} == {"P"}

    again = send(site, tmp_path, lab_104("MSG1", series=series, priority=STAT))
    assert str(again.segment("MSA")[1]) == "AA"
    in_another_message = send(site, tmp_path, lab_104("MSG2", series=series, priority=STAT))
    assert str(in_another_message.segment("MSA")[1]) == "AA"
    report = site.json("shadow", "report", "--live")
    assert report["asked"] == 1
    assert report["rows"][0]["triage"] == "urgent"
    assert "MÜLLER" not in site.log()


def test_an_image_that_is_gone_cancels_its_question(site, lis, tmp_path):
    """Its series never came, so that the question still waits."""
    send(site, tmp_path, lab_104("MSG1", series="1.2.3.99"))
    assert (
        str(send(site, tmp_path, lab_104("MSG2", series="1.2.3.99", available="N")).segment("MSA")[1]) == "AA"
    )
    assert lis.received.empty()


def test_what_is_not_understood_is_refused_for_good_and_says_where(site, tmp_path):
    answer = send(site, tmp_path, lab_104("MSG1", kind="BAR^P01"))
    assert str(answer.segment("MSA")[1]) == "AR"
    assert "MSH" in str(answer.segment("ERR")[2])


def test_rules_say_what_a_message_would_do(site, tmp_path):
    file = tmp_path / "m.hl7"
    file.write_bytes(lab_104("MSG1", series="1.2.3").encode())
    told = site.run("rules", "test", str(file))
    assert "every-slide" in told
    assert "MÜLLER" not in told
    assert "stain" in site.run("rules", "explain")
