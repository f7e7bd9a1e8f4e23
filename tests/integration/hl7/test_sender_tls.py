"""MLLP over TLS: whom we send to is verified, and we show a certificate where one is asked for."""

from __future__ import annotations

import shutil
import ssl
import subprocess

import pytest

from integrations.hl7.line import Line, client_tls
from integrations.hl7.sender import attempt
from tests.conftest import missing
from tests.unit.hl7.receiver import Receiver, says
from worker.address import AllowList
from worker.jobs.event import Delivery, DeliveryStatus, Endpoint, EndpointStatus, EventType, Payload

HEAD = b"MSH|^~\\&|PATHLANE|PATH|LIS|LAB|20261123100100||ORU^R01^ORU_R01|3K6ZQ8V5R2M7N4T9B1CD|P|2.5.1\r"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Name -> certificate and key, each signed by itself; the receiver's is for 127.0.0.1."""
    if shutil.which("openssl") is None:
        missing("openssl")
    made = {}
    for name, extension in [
        ("receiver", ["-addext", "subjectAltName=IP:127.0.0.1"]),
        ("elsewhere", []),
        ("us", []),
    ]:
        folder = tmp_path_factory.mktemp(name)
        made[name] = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", *extension, "-out", str(made[name][0]),
             "-keyout", str(made[name][1])],
            check=True, capture_output=True,
        )  # fmt: skip
    return made


def listening(pairs, name: str = "receiver", *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pairs[name])
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pairs["us"][0])
    return context


def tell(url: str, tls: ssl.SSLContext, times: int = 1, seconds: float = 5):
    endpoint = Endpoint(
        id="ep_1", name="lis", url=url, status=EndpointStatus.ACTIVE, event_types=tuple(EventType),
        payload=Payload.FULL, secrets=(),
    )  # fmt: skip
    delivery = Delivery(
        id="msg_01JDXW3K6ZQ8V5R2M7N4T9B1CD", job_id="job_1", endpoint=endpoint,
        event_type=EventType.JOB_SUCCEEDED, body=b"", attempt=1,
    )  # fmt: skip
    line = Line(url, allow=AllowList.of(["127.0.0.0/8"]), seconds=seconds, tls=tls)
    try:
        for _ in range(times):
            outcome = attempt(delivery, HEAD, line, chance=0.5)
    finally:
        line.close()
    return outcome.status, outcome.reason


def test_a_receiver_that_is_believed_is_told_over_one_connection(pairs):
    with Receiver([says("AA")] * 3, tls=listening(pairs)) as receiver:
        told = tell(receiver.url, client_tls(authorities=pairs["receiver"][0]), times=3)
    assert told == (DeliveryStatus.DELIVERED, "")
    assert [connection for connection, _ in receiver.received] == [1, 1, 1]


@pytest.mark.parametrize(
    ("shown", "believed"), [("receiver", None), ("receiver", "us"), ("elsewhere", "elsewhere")]
)
def test_a_receiver_that_is_not_the_one_meant_is_told_nothing(pairs, shown, believed):
    with Receiver([], tls=listening(pairs, shown)) as receiver:
        told = tell(receiver.url, client_tls(authorities=pairs[believed][0] if believed else None))
    assert told == (DeliveryStatus.PENDING, "tls")
    assert receiver.received == []


def test_a_receiver_that_asks_for_our_certificate_gets_it(pairs):
    ours = client_tls(authorities=pairs["receiver"][0], certificate=pairs["us"][0], key=pairs["us"][1])
    with Receiver([says("AA")], tls=listening(pairs, asks=True)) as receiver:
        assert tell(receiver.url, ours) == (DeliveryStatus.DELIVERED, "")


def test_without_a_certificate_that_is_asked_for_nothing_is_delivered(pairs):
    with Receiver([], tls=listening(pairs, asks=True)) as receiver:
        status, reason = tell(receiver.url, client_tls(authorities=pairs["receiver"][0]))
    assert status is DeliveryStatus.PENDING
    assert reason in ("tls", "dropped")  # TLS 1.3 says it after the handshake


def test_a_receiver_without_tls_is_not_spoken_to_in_the_clear(pairs):
    with Receiver([]) as receiver:
        url = receiver.url.replace("mllp:", "mllps:")
        status, reason = tell(url, client_tls(authorities=pairs["receiver"][0]), seconds=1)
    assert status is DeliveryStatus.PENDING
    assert reason in ("tls", "timeout", "dropped")
    assert receiver.messages == []
