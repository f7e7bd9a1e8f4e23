"""Results to HL7 servers that were not written here: simple-hl7 and @medplum/hl7."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import hl7
import pytest

from integrations.hl7.line import Line
from integrations.hl7.results import control_id_of, result_message
from integrations.hl7.sender import attempt
from tests.builders import a_reading
from tests.peers import SERVERS, npm_peers, running_server
from worker.address import AllowList
from worker.jobs.event import Delivery, DeliveryStatus, Endpoint, EndpointStatus, EventType, Payload
from worker.jobs.order import Channel, Order, Patient, Question, Result, Sender, TriageClass, Verb
from worker.jobs.request import Priority

AT = datetime(2026, 11, 23, 10, 1, tzinfo=UTC)
REASONING = "Membranous staining | 3+\nin > 10 % of the cells & no ~ background\\"


@pytest.fixture(scope="session")
def peers(request):
    return npm_peers(request.config.cache.mkdir("npm-peers"))


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def a_delivery(last: str, port: int) -> Delivery:
    endpoint = Endpoint(
        id="ep_1", name="lis", url=f"mllp://127.0.0.1:{port}", status=EndpointStatus.ACTIVE,
        event_types=tuple(EventType), payload=Payload.FULL, secrets=(),
    )  # fmt: skip
    return Delivery(
        id="msg_01JDXW3K6ZQ8V5R2M7N4T9B1C" + last, job_id="job_1", endpoint=endpoint,
        event_type=EventType.JOB_SUCCEEDED, body=b"", attempt=1,
    )  # fmt: skip


def a_result() -> Result:
    order = Order(
        verb=Verb.AVAILABLE, sender=Sender(channel=Channel.HL7, application="IMA"), accession="S26-0001",
        slide="S26-0001-A1-01", placer_order="P-77", filler_order="F-88",
        patient=Patient(id="1234567890", authority="HIS", family="MÜLLER", given="ZOË"),
    )  # fmt: skip
    question = Question(
        protocol="breast", version=3, name="her2", text="Is it overexpressed?", options=("No", "Yes")
    )
    return Result(
        job_id="job_1", order=order, question=question, triage=TriageClass.URGENT, priority=Priority.URGENT,
        supersedes=None, observed_at=AT - timedelta(seconds=30),
    )  # fmt: skip


def tell(line: Line, delivery: Delivery, kind: str = "ORU^R01"):
    message = result_message(
        a_result(), a_reading(answer="B. Yes", choice="B", reasoning=REASONING),
        control_id=control_id_of(delivery.id), at=AT, kind=kind, sending=("PATHLANE", "PATH"),
        receiving=("LIS", "LAB"), test=False,
    )  # fmt: skip
    outcome = attempt(delivery, message, line, chance=0.5)
    return outcome.status, outcome.reason


@pytest.fixture
def line(free_port):
    line = Line(f"mllp://127.0.0.1:{free_port}", allow=AllowList.of(["127.0.0.0/8"]), seconds=10)
    yield line
    line.close()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", ["ORU^R01", "OUL^R22"])
def test_a_third_party_server_receives_the_answer_for_the_case_as_preliminary(
    peers, line, free_port, server, kind
):
    with running_server(peers / server, free_port) as received:
        assert tell(line, a_delivery("D", free_port), kind) == (DeliveryStatus.DELIVERED, "")
        message = hl7.parse(received.next_message())
    assert str(message.segment("MSH")[9][0][0]) == kind[:3]
    assert str(message.segment("MSH")[10]) == "3K6ZQ8V5R2M7N4T9B1CD"
    assert str(message.segment("ORC")[38]) == "S26-0001"
    assert str(message.segment("SPM")[2][0][1]) == "S26-0001-A1-01"
    assert str(message.segment("PID")[5]) == "MÜLLER^ZOË"
    assert str(message.segment("OBR")[25]) == "P"
    assert str(message.segment("TQ1")[9][0][0]) == "A"
    observed = {str(obx[3][0][0]): obx for obx in message.segments("OBX")}
    assert [str(part) for part in observed["ANSWER"][5][0][:2]] == ["B", "Yes"]
    assert str(observed["TRIAGE"][5][0][0]) == "URGENT"
    assert message.unescape(str(observed["REASONING"][5])) == REASONING.replace("\n", "\r")
    assert {str(obx[11]) for obx in message.segments("OBX")} == {"P"}


@pytest.mark.parametrize("server", SERVERS)
def test_many_messages_are_acknowledged_each_under_its_own_id(peers, line, free_port, server):
    with running_server(peers / server, free_port) as received:
        for last in "0123456789":
            assert tell(line, a_delivery(last, free_port)) == (DeliveryStatus.DELIVERED, "")
        ids = [str(hl7.parse(received.next_message()).segment("MSH")[10])[-1] for _ in range(10)]
    assert ids == list("0123456789")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AE", (DeliveryStatus.PENDING, "not_accepted")),
        ("AR", (DeliveryStatus.EXHAUSTED, "rejected")),
    ],
)
def test_a_third_party_refusal_is_understood(peers, line, free_port, code, told):
    with running_server(peers / "medplum_server.mjs", free_port, code):
        assert tell(line, a_delivery("D", free_port)) == told


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_starts_again_gets_the_next_message(peers, line, free_port, server):
    with running_server(peers / server, free_port):
        assert tell(line, a_delivery("1", free_port)) == (DeliveryStatus.DELIVERED, "")
    assert tell(line, a_delivery("2", free_port)) == (DeliveryStatus.PENDING, "refused")
    with running_server(peers / server, free_port):
        assert tell(line, a_delivery("2", free_port)) == (DeliveryStatus.DELIVERED, "")
