from __future__ import annotations

import shutil
import ssl
import subprocess

import pytest

from integrations.webhooks.signing import Secret
from tests.conftest import missing
from tests.integration.webhooks.receiver import Receiver, status
from worker.jobs.event import Delivery, Endpoint, EndpointStatus, EventType, Payload

SECRET = Secret.new(lambda count: b"s" * count).text


@pytest.fixture
def receiver():
    """A receiver that says 200; whatever a test made it receive is verified in the end."""
    receiver = Receiver(ways=[status(200)])
    with receiver.listening():
        yield receiver
    receiver.verify(SECRET)


@pytest.fixture
def a_delivery():
    def make(
        url: str, *, attempt: int = 1, number: int = 1, secrets: tuple[str, ...] = (SECRET,)
    ) -> Delivery:
        endpoint = Endpoint(
            id="ep_1", name="lis", url=url, status=EndpointStatus.ACTIVE, event_types=tuple(EventType),
            payload=Payload.THIN, secrets=secrets,
        )  # fmt: skip
        return Delivery(
            id=f"msg_{number}", job_id="job_1", endpoint=endpoint, event_type=EventType.JOB_SUCCEEDED,
            body='{"type":"job.succeeded","data":{"é":1}}'.encode(), attempt=attempt,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Certificate and key of lis.example.org, signed by itself."""
    if shutil.which("openssl") is None:
        missing("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    pair = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=lis.example.org", "-addext", "subjectAltName=DNS:lis.example.org",
         "-out", str(pair[0]), "-keyout", str(pair[1])],
        check=True, capture_output=True,
    )  # fmt: skip
    return pair


@pytest.fixture
def tls_receiver(certificate):
    """The receiver behind TLS, as lis.example.org; `asked_names` are the names callers asked for (SNI)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    asked_names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked_names.append(name)
    receiver = Receiver(ways=[status(200)])
    with receiver.listening(context):
        yield receiver, asked_names
    receiver.verify(SECRET)
