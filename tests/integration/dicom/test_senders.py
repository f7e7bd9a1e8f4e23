"""Reports to dcmtk's storescp and to Orthanc, by C-STORE and by STOW-RS."""

from __future__ import annotations

import io
import socket
import ssl
import subprocess
from contextlib import suppress
from datetime import timedelta

import pydicom
import pytest
from pynetdicom import AE, evt

from integrations.dicom import sender, stow
from integrations.dicom.endpoint import DicomWeb, Dimse
from integrations.dicom.header import read_evidence
from integrations.dicom.results import report_uid, structured_report
from integrations.dicom.sender import Sending
from tests.integration.dicom import orthanc as orthanc_peer
from tests.integration.dicom.conftest import eventually, free_port
from tests.unit.dicom.objects import AT, NAME, PATIENT, a_delivery, a_file, a_reading_of, a_result, a_slide
from worker.address import AllowList
from worker.jobs.event import DeliveryStatus
from worker.pinned import pinned_client

LOOPBACK = AllowList.of(["127.0.0.0/8"])
SENDING = Sending(title="PATHLANE", seconds=10)

# pynetdicom's client leaves the socket of a connection that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def slide() -> bytes:
    return a_file(a_slide())


@pytest.fixture(scope="module")
def report(slide) -> bytes:
    return structured_report(a_result(), a_reading_of((4, 4, 8, 8)), [read_evidence(io.BytesIO(slide))])


def by_dimse(report, peer, *, attempt=1, allow=LOOPBACK, sending=SENDING):
    return sender.attempt(a_delivery(attempt), report, peer, sending, allow=allow, chance=0.5)


def by_stow(report, root, client, *, attempt=1):
    return stow.attempt(a_delivery(attempt), report, DicomWeb(root=root), client, chance=0.5)


@pytest.fixture
def storescp(dcmtk, tmp_path):
    """Starts dcmtk's own SCP; gives its port and folder."""
    running = []

    def start(*options):
        port, folder = free_port(), tmp_path / f"scp{len(running)}"
        folder.mkdir()
        command = ["storescp", *options, "-aet", "ARCHIVE", "-od", str(folder), str(port)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert eventually(
            lambda: dcmtk("echoscu", "127.0.0.1", port).code == 0 or ("--refuse" in options and listens(port))
        )
        return port, folder

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def listens(port) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_storescp_stores_the_report_and_dsrdump_reads_it(storescp, dcmtk, report):
    port, folder = storescp()
    outcome = by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=port))
    assert (outcome.status, outcome.reason) == (DeliveryStatus.DELIVERED, "")
    (path,) = folder.iterdir()
    text = dcmtk("dsrdump", "+Ps", path).text
    for line in (
        "PRELIMINARY",
        "UNVERIFIED",
        "COMPLETE",
        '"Raise to urgent"',
        '"Yes"',
        "SCOORD3D",
        '"Algorithm Name")="demo"',
    ):
        assert line in text
    assert "Warning" not in text


def test_an_archive_that_takes_only_implicit_vr_is_served(storescp, report):
    port, folder = storescp("+xi")
    outcome = by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=port))
    assert outcome.status is DeliveryStatus.DELIVERED
    (path,) = folder.iterdir()
    assert pydicom.dcmread(path).SOPInstanceUID == report_uid("job_01")


def test_an_archive_that_is_not_there_is_tried_again(report):
    outcome = by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=free_port()))
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "unreachable")
    assert outcome.wait == timedelta(seconds=5)


def test_an_archive_that_refuses_every_association_is_tried_again(storescp, report):
    port, folder = storescp("--refuse")
    outcome = by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=port))
    assert outcome.status is DeliveryStatus.PENDING
    assert outcome.reason in {"rejected", "dropped"}  # storescp hangs up behind its refusal
    assert list(folder.iterdir()) == []


def test_an_archive_that_aborts_in_the_middle_is_tried_again(storescp, report):
    port, _ = storescp("--abort-during")
    outcome = by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=port))
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "dropped")


def test_the_last_attempt_exhausts_the_delivery(report):
    outcome = by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=free_port()), attempt=10)
    assert outcome.status is DeliveryStatus.EXHAUSTED
    assert outcome.wait is None


def test_an_address_that_is_not_listed_is_not_called(storescp, report):
    port, folder = storescp()
    outcome = by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=port), allow=AllowList.of([]))
    assert outcome.reason == "address_refused"
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with orthanc_peer.running(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.fixture
def client():
    with pinned_client(LOOPBACK, seconds=20, plain_http=True) as client:
        yield client


ROOT = f"http://127.0.0.1:{orthanc_peer.HTTP}/dicom-web"
PEER = Dimse(title="ORTHANC", host="127.0.0.1", port=orthanc_peer.DICOM)


def found(orthanc, **keys):
    query = "&".join(f"{key}={value}" for key, value in keys.items())
    return orthanc.get(f"/dicom-web/instances?{query}&Modality=SR")


def test_orthanc_has_one_report_however_often_it_was_sent_and_which_way(orthanc, client, slide, report):
    orthanc.post("/instances", slide)
    ways = (
        lambda: by_dimse(report, PEER),
        lambda: by_stow(report, ROOT, client),
        lambda: by_stow(report, ROOT, client),
        lambda: by_dimse(report, PEER),
    )
    outcomes = [orthanc.inside(way) for way in ways]
    assert [(outcome.status, outcome.http_status) for outcome in outcomes] == [
        (DeliveryStatus.DELIVERED, status) for status in (None, 200, 200, None)
    ]
    (instance,) = found(orthanc, AccessionNumber="S26-0001")
    assert instance["00080018"]["Value"] == [report_uid("job_01")]
    (patient,) = orthanc.get("/patients")
    assert orthanc.get(f"/patients/{patient}")["MainDicomTags"]["PatientID"] == PATIENT


def test_a_correction_is_a_second_report_that_names_the_first(orthanc, client, slide):
    later = a_result(job_id="job_02", supersedes="job_01", observed_at=AT + timedelta(hours=1))
    report = structured_report(later, a_reading_of(None), [read_evidence(io.BytesIO(slide))])
    assert orthanc.inside(lambda: by_stow(report, ROOT, client)).status is DeliveryStatus.DELIVERED
    (instance,) = found(orthanc, SOPInstanceUID=report_uid("job_02"))
    assert instance["00080018"]["Value"] == [report_uid("job_02")]
    (stored,) = orthanc.post("/tools/lookup", report_uid("job_02").encode())
    tags = orthanc.get(f"/instances/{stored['ID']}/tags?simplify")
    (predecessor,) = tags["PredecessorDocumentsSequence"]
    (series,) = predecessor["ReferencedSeriesSequence"]
    assert series["ReferencedSOPSequence"][0]["ReferencedSOPInstanceUID"] == report_uid("job_01")


def test_a_title_that_orthanc_does_not_know_is_said(orthanc, report):
    outcome = orthanc.inside(
        lambda: by_dimse(report, Dimse(title="OTHER", host="127.0.0.1", port=orthanc_peer.DICOM))
    )
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "called_title")


def test_a_root_that_is_not_there_is_tried_again(orthanc, client, report):
    outcome = orthanc.inside(lambda: by_stow(report, ROOT + "/nowhere", client))
    assert (outcome.status, outcome.reason, outcome.http_status) == (
        DeliveryStatus.PENDING,
        "not_accepted",
        404,
    )


def test_orthanc_refuses_what_is_no_dicom(orthanc, client):
    """Its own answer to a broken object, read as it is."""
    answer = orthanc.inside(
        lambda: client.post(
            ROOT + "/studies",
            content=b"--x\r\nContent-Type: application/dicom\r\n\r\nnothing\r\n--x--\r\n",
            headers={
                "content-type": 'multipart/related; type="application/dicom"; boundary=x',
                "accept": "application/dicom+json",
            },
        )
    )
    assert answer.status_code in (400, 409)


def test_a_server_that_is_not_there_is_tried_again(client, report):
    outcome = by_stow(report, f"http://127.0.0.1:{free_port()}/dicom-web", client)
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "refused")


def test_no_outcome_names_the_patient(orthanc, client, report):
    outcomes = [
        orthanc.inside(lambda: by_stow(report, ROOT, client)),
        by_dimse(report, Dimse(title="ARCHIVE", host="127.0.0.1", port=free_port())),
    ]
    assert all(NAME not in repr(outcome) and PATIENT not in repr(outcome) for outcome in outcomes)


def test_over_plain_http_nothing_is_sent_unless_it_is_allowed(orthanc, report):
    with pinned_client(LOOPBACK, seconds=20) as strict:
        outcome = orthanc.inside(lambda: by_stow(report, ROOT, strict))
    assert outcome.reason == "address_refused"


@pytest.mark.parametrize("known", [True, False])
def test_over_tls_the_archive_must_have_a_certificate_we_know(report, certificates, known):
    stored = []
    archive = AE("ARCHIVE")
    archive.add_supported_context("1.2.840.10008.5.1.4.1.1.88.34")
    server = archive.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=certificates(ssl.Purpose.CLIENT_AUTH, own=True),
        evt_handlers=[
            (evt.EVT_C_STORE, lambda event: stored.append(event.request.AffectedSOPInstanceUID) or 0)
        ],
    )
    peer = Dimse(title="ARCHIVE", host="localhost", port=server.server_address[1], tls=True)
    ours = certificates(ssl.Purpose.SERVER_AUTH, own=False) if known else ssl.create_default_context()
    sending = Sending(title="PATHLANE", seconds=10, tls=ours, resolve=lambda *_: ["127.0.0.1"])
    try:
        outcome = by_dimse(report, peer, sending=sending)
    finally:
        server.shutdown()
    assert (outcome.status is DeliveryStatus.DELIVERED) is known
    assert stored == ([report_uid("job_01")] if known else [])
