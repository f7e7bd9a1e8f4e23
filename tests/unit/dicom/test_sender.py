"""What a C-STORE status comes to, from a peer that answers as a test tells it."""

from __future__ import annotations

import io

import pytest
from pynetdicom import AE, evt

from integrations.dicom import sender
from integrations.dicom.endpoint import Dimse
from integrations.dicom.header import read_evidence
from integrations.dicom.results import structured_report
from integrations.dicom.sender import Sending
from tests.unit.dicom.objects import a_delivery, a_file, a_reading_of, a_result, a_slide
from worker.address import AllowList
from worker.jobs.event import DeliveryStatus

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture(scope="module")
def report():
    return structured_report(a_result(), a_reading_of(None), [read_evidence(io.BytesIO(a_file(a_slide())))])


@pytest.fixture(scope="module")
def peer():
    """Answers with `peer.status`; has seen `peer.callers`."""

    class Peer:
        status = 0
        callers: list[str] = []  # noqa: RUF012

    def store(event):
        Peer.callers.append(event.assoc.requestor.ae_title)
        return Peer.status

    entity = AE("ARCHIVE")
    entity.add_supported_context(COMPREHENSIVE_3D_SR)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    Peer.port = server.server_address[1]
    yield Peer
    server.shutdown()


def outcome_of(report, peer, **more):
    to = Dimse(title="ARCHIVE", host=more.pop("host", "127.0.0.1"), port=peer.port)
    sending = Sending(title="PATHLANE", seconds=10, **more)
    allow = AllowList.of(["127.0.0.0/8", "*.lab.example"])
    return sender.attempt(a_delivery(), report, to, sending, allow=allow, chance=0.5)


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (0x0000, DeliveryStatus.DELIVERED, ""),
        (0xB000, DeliveryStatus.DELIVERED, "coerced"),
        (0xB006, DeliveryStatus.DELIVERED, "elements_discarded"),
        (0xB007, DeliveryStatus.DELIVERED, "warning"),
        (0x0111, DeliveryStatus.DELIVERED, "duplicate"),
        (0xA700, DeliveryStatus.PENDING, "busy"),
        (0xA7FF, DeliveryStatus.PENDING, "busy"),
        (0x0213, DeliveryStatus.PENDING, "busy"),
        (0xA900, DeliveryStatus.PENDING, "not_accepted"),
        (0xC001, DeliveryStatus.PENDING, "not_accepted"),
        (0x0122, DeliveryStatus.PENDING, "sop_class"),
        (0x0124, DeliveryStatus.PENDING, "not_authorised"),
        (0x0110, DeliveryStatus.PENDING, "failed"),
    ],
)
def test_a_status_becomes_an_outcome(report, peer, answer, status, reason):
    peer.status = answer
    outcome = outcome_of(report, peer)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert peer.callers[-1] == "PATHLANE"


def test_a_name_is_looked_up_and_its_address_checked(report, peer):
    peer.status = 0
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return ["127.0.0.1"]

    assert (
        outcome_of(report, peer, host="pacs.lab.example", resolve=resolve).status is DeliveryStatus.DELIVERED
    )
    assert asked == [("pacs.lab.example", peer.port)]


def test_a_name_that_stands_for_another_address_is_refused(report, peer):
    outcome = outcome_of(report, peer, host="pacs.lab.example", resolve=lambda *_: ["169.254.169.254"])
    assert outcome.reason == "address_refused"


def test_a_name_nobody_knows_is_tried_again(report, peer):
    def resolve(_host, _port):
        raise OSError

    assert outcome_of(report, peer, host="pacs.lab.example", resolve=resolve).reason == "dns"


def test_a_peer_that_stores_no_reports_is_tried_again(report):
    entity = AE("ARCHIVE")
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:

        class Peer:
            port = server.server_address[1]

        outcome = outcome_of(report, Peer)
    finally:
        server.shutdown()
    assert (outcome.status, outcome.reason) == (DeliveryStatus.PENDING, "sop_class")
