"""A hospital's system says that a slide is scanned; the answer arrives where the lab works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hl7
import pydicom
import pytest
from pynetdicom.ae import ApplicationEntity as AE

from integrations.demo import cases
from tests.acceptance.conftest import free_port, started_in
from tests.messages import STAT, lab_104
from tests.peers import npm_peers, running_server

MLLP_SEND = str(Path(sys.executable).with_name("mllp_send"))


@pytest.fixture(scope="module")
def peers(tmp_path_factory, request):
    return npm_peers(Path(request.config.cache.mkdir("npm-peers")))


@pytest.fixture(scope="module")
def lis(peers):
    """simple-hl7's server, in the place of the lab's system."""
    with running_server(peers / "simple_hl7_server.js", free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def dicom_port():
    return free_port()


@pytest.fixture(scope="module")
def site(lis, dicom_port, tmp_path_factory):
    dicom = {"DICOM_CALLERS": "SCANNER", "DICOM_PORT": str(dicom_port), "DICOM_QUIET_SECONDS": "1"}
    with started_in(tmp_path_factory.mktemp("lis")) as start:
        up = start("--lis", "--hl7-port", "0", **dicom)
        up.run("endpoint", "add", "lis", f"mllp://127.0.0.1:{lis.port}")
        yield up


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


def test_an_image_that_is_gone_is_not_asked_about_when_it_comes_late(site, series, lis, tmp_path):
    words = {"series": "1.2.3.99", "slide": "B1"}
    for number, available in enumerate(("Y", "N")):
        answer = send(site, tmp_path, lab_104(f"GONE{number}", available=available, **words))
        assert str(answer.segment("MSA")[1]) == "AA"
    (waiting,) = [row for row in site.json("shadow", "report", "--live")["rows"] if not row["job_id"]]
    assert waiting["answer"] == ""


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom's client socket
def test_a_series_that_is_sent_over_dicom_is_read_and_answered_without_any_message(
    site, lis, dicom_port, tmp_path, ihc
):
    dataset = pydicom.dcmread(cases._dicom(tmp_path, ihc))
    dataset.AccessionNumber, dataset.ContainerIdentifier = "S26-0009", "S26-0009-A1"
    scanner = AE("SCANNER")
    scanner.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = scanner.associate("127.0.0.1", dicom_port, ae_title="PATHLANE")
    assert association.is_established
    assert association.send_c_store(dataset).Status == 0x0000
    association.release()
    result = hl7.parse(lis.next_message(120))
    assert str(result.segment("ORC")[38]) == "S26-0009"
    observations = [str(value) for obx in result.segments("OBX") for value in obx[5]]
    assert any("Immunohistochemistry with DAB" in value for value in observations)
