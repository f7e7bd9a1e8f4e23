"""The listener on a real socket, with clients that behave and clients that do not."""

import asyncio
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from integrations.hl7.frames import frame
from integrations.hl7.message import parse
from integrations.hl7.mllp import Limits, serve, tls_context
from tests.integration.hl7.conftest import Conversation, listening
from tests.unit.hl7.messages import message


def answer(reply):
    read = parse(reply, charset="8859/1")
    return read.get("MSA", 1), read.get("MSA", 2)


def test_a_message_is_answered_on_its_connection(listener, handler):
    with listener.connect() as client:
        assert answer(client.ask(message())) == ("AA", "MSG00001")
        assert answer(client.ask(message(control_id="2"))) == ("AA", "2")
    assert handler.messages == [message(), message(control_id="2")]
    assert handler.peers[0].host == "127.0.0.1"


def test_a_message_that_comes_in_pieces_is_answered_once(listener, handler):
    data = frame(message())
    with listener.connect() as client:
        for start in range(0, len(data), 7):
            client.send(data[start : start + 7])
            time.sleep(0.001)
        assert answer(client.reply()) == ("AA", "MSG00001")
    assert handler.messages == [message()]


def test_messages_that_arrive_together_are_handed_on_together_and_answered_in_order(listener, handler):
    wanted = [message("PID|||1", control_id=str(n)) for n in range(50)]
    with listener.connect() as client:
        client.send(b"".join(map(frame, wanted)))
        assert [answer(client.reply())[1] for _ in wanted] == [str(n) for n in range(50)]
    assert handler.messages == wanted
    assert len(handler.batches) < 10


def test_a_batch_has_its_limit(handler):
    with listening(handler, limits=Limits(batch=4)) as listener, listener.connect() as client:
        client.send(b"".join(frame(message("PID|||1", control_id=str(n))) for n in range(10)))
        assert [answer(client.reply())[1] for _ in range(10)] == [str(n) for n in range(10)]
    assert max(map(len, handler.batches)) == 4


def test_what_stands_between_messages_is_skipped(listener):
    with listener.connect() as client:
        client.send(b"junk" + frame(message()) + b"\r\nmore junk" + frame(message(control_id="2")))
        assert [answer(client.reply())[1] for _ in range(2)] == ["MSG00001", "2"]


def test_bytes_that_are_no_message_are_rejected_and_the_connection_stays(listener):
    with listener.connect() as client:
        assert answer(client.ask(b"hello")) == ("AR", "")
        assert answer(client.ask(message())) == ("AA", "MSG00001")


def test_a_message_that_is_too_large_is_rejected_by_its_control_id_and_the_connection_ends(listener, handler):
    with listener.connect() as client:
        client.send(frame(message(control_id="1")))
        client.send(b"\x0b" + message(control_id="2") + b"OBX|1|TX|" + b"x" * 200_000)
        assert answer(client.reply()) == ("AA", "1")
        assert answer(client.reply()) == ("AR", "2")
        assert client.reply() is None
    assert handler.messages == [message(control_id="1")]


def test_a_sender_of_a_large_message_that_goes_on_writing_still_reads_the_answer(handler):
    limits = Limits(message_bytes=10_000)
    with listening(handler, refuse=handler.reply, limits=limits) as listener, listener.connect() as client:
        client.send(b"\x0b" + message(control_id="2") + b"x" * 4_000_000 + b"\x1c\r")
        assert answer(client.reply()) == ("AR", "2")


def test_an_empty_reply_is_not_sent():
    async def silent(batch, peer):
        return [b"" if b"|quiet|" in raw else b"MSH|^~\\&|loud" for raw in batch]

    with listening(silent) as listener, listener.connect() as client:
        client.send(frame(message(control_id="quiet")))
        assert client.ask(message()) == b"MSH|^~\\&|loud"


def test_who_says_nothing_is_hung_up_on(handler):
    with listening(handler, limits=Limits(idle_seconds=0.2)) as listener, listener.connect() as client:
        assert client.ask(message()) is not None
        assert client.reply() is None


def test_junk_does_not_keep_a_connection(handler):
    with listening(handler, limits=Limits(idle_seconds=0.3)) as listener, listener.connect() as client:
        client.socket.settimeout(0.05)
        for _ in range(100):
            try:
                client.send(b"x")
                if client.socket.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("it is still connected")


def test_a_message_that_drips_in_is_not_waited_for(handler):
    with listening(handler, limits=Limits(message_seconds=0.3)) as listener, listener.connect() as client:
        client.send(b"\x0bMSH")
        client.socket.settimeout(0.05)
        for _ in range(100):
            try:
                client.send(b"|")
                if client.socket.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("it is still connected")
    assert handler.messages == []


def test_who_never_reads_the_replies_is_hung_up_on():
    async def wordy(batch, peer):
        return [b"x" * 1_000_000 for _ in batch]

    limits = Limits(reply_seconds=0.3)
    with listening(wordy, limits=limits) as listener, listener.connect() as client:
        client.send(frame(b"MSH|") * 20)
        time.sleep(1.5)
        got = 0
        try:
            while data := client.socket.recv(1 << 20):
                got += len(data)
        except ConnectionError:
            pass
        assert got < 20_000_000


def test_there_are_no_more_connections_than_the_limit(handler):
    with listening(handler, limits=Limits(connections=2)) as listener:
        with listener.connect() as one, listener.connect() as two:
            assert one.ask(message())
            assert two.ask(message())
            with listener.connect() as three:
                assert three.reply() is None
            assert one.ask(message())
        time.sleep(0.2)
        with listener.connect() as four:
            assert four.ask(message())


def test_a_handler_that_fails_gives_no_reply_and_other_connections_go_on(capsys):
    async def failing(batch, peer):
        if b"BAD" in batch[0]:
            raise RuntimeError("JANE DOE")
        return [b"MSH|^~\\&|ok"] * len(batch)

    with listening(failing) as listener, listener.connect() as one, listener.connect() as two:
        assert one.ask(message(control_id="BAD")) is None
        assert two.ask(message()) == b"MSH|^~\\&|ok"
    said = capsys.readouterr()
    assert "handler_failed" in said.out + said.err
    assert "JANE" not in said.out + said.err


def test_what_the_handler_is_busy_with_is_answered_when_the_listener_stops():
    entered = []

    async def slow(batch, peer):
        entered.append(batch)
        await asyncio.sleep(0.5)
        return [b"MSH|^~\\&|done"] * len(batch)

    with listening(slow) as listener:
        with listener.connect() as busy, listener.connect() as idle, listener.connect() as half:
            busy.send(frame(message()))
            half.send(b"\x0bMSH|half")
            while not entered:
                time.sleep(0.01)
            listener.stop.set()
            assert busy.reply() == b"MSH|^~\\&|done"
            assert busy.reply() is idle.reply() is half.reply() is None
        assert listener.stopped.wait(5)
        with pytest.raises(OSError):
            listener.connect()


def test_a_handler_that_never_ends_does_not_keep_the_listener():
    async def endless(batch, peer):
        await asyncio.sleep(3600)
        return []

    with listening(endless, limits=Limits(stop_seconds=0.2)) as listener, listener.connect() as client:
        client.send(frame(message()))
        time.sleep(0.2)
        listener.stop.set()
        assert client.reply() is None
        assert listener.stopped.wait(5)


def test_an_address_that_is_taken_is_an_error_of_the_operating_system(listener, handler):
    with pytest.raises(OSError):
        asyncio.run(serve(handler, host="127.0.0.1", port=listener.port, stop=asyncio.Event()))


# TLS


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """An authority, a listener and a client it vouches for, and a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    authority_key, authority = _certificate("authority", None, None, folder)
    for name in ("listener", "client"):
        _certificate(name, authority_key, authority, folder)
    _certificate("stranger", None, None, folder)
    return folder


def _certificate(name, signing_key, signer, folder):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    certificate = builder.sign(signing_key or key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.key").write_bytes(pem)
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


def a_client_context(keys, name=None):
    context = ssl.create_default_context(cafile=keys / "authority.pem")
    if name:
        context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    return context


def tls_conversation(listener, context):
    raw = socket.create_connection(("127.0.0.1", listener.port), 10)
    try:
        return Conversation(context.wrap_socket(raw, server_hostname="localhost"))
    except OSError:
        raw.close()
        raise


def test_tls_is_spoken(keys, handler):
    context = tls_context(keys / "listener.pem", keys / "listener.key")
    with listening(handler, tls=context) as listener:
        with tls_conversation(listener, a_client_context(keys)) as client:
            assert answer(client.ask(message())) == ("AA", "MSG00001")
            assert client.socket.version() in ("TLSv1.2", "TLSv1.3")
        assert handler.peers[0].name == ""


def test_a_client_is_known_by_its_certificate(keys, handler):
    context = tls_context(keys / "listener.pem", keys / "listener.key", keys / "authority.pem")
    with listening(handler, tls=context) as listener:
        with tls_conversation(listener, a_client_context(keys, "client")) as client:
            assert answer(client.ask(message())) == ("AA", "MSG00001")
        assert handler.peers[0].name == "client"


@pytest.mark.parametrize("name", [None, "stranger"])
def test_a_client_without_a_certificate_of_the_authority_is_not_heard(keys, handler, name):
    context = tls_context(keys / "listener.pem", keys / "listener.key", keys / "authority.pem")
    with listening(handler, tls=context) as listener:
        assert not is_heard(listener, a_client_context(keys, name))
    assert handler.messages == []


def is_heard(listener, context):
    """In TLS 1.3 a client learns only when it reads that its certificate was not taken."""
    try:
        with tls_conversation(listener, context) as client:
            client.send(frame(message()))
            return client.socket.recv(1) != b""
    except OSError:
        return False


def test_a_client_without_tls_is_not_heard(keys, handler):
    context = tls_context(keys / "listener.pem", keys / "listener.key")
    limits = Limits(handshake_seconds=1)
    with listening(handler, tls=context, limits=limits) as listener, listener.connect() as client:
        assert client.ask(message()) is None
    assert handler.messages == []


def test_an_old_tls_is_not_spoken(keys):
    context = tls_context(keys / "listener.pem", keys / "listener.key")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
