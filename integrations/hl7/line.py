"""Line: one MLLP connection to one receiver, with one message in flight.

In: a message and its control id. Out: what the receiver answered to that very message, or an OSError. It
connects to addresses on the operator's list only, and hangs up whenever an acknowledgement that is still on
its way could meet another message. It does not know what a message says.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from threading import Lock, Thread
from typing import Final, Self
from urllib.parse import urlsplit

from integrations.hl7.frames import Decoder, frame
from integrations.hl7.message import parse_text
from worker.address import Address, AllowList
from worker.errors import AddressRefused, MessageTooLarge, MessageUnreadable
from worker.pinned import Resolver, system_resolver, trusted_authorities

#: registered for HL7 over TCP
PORT: Final = 2575
#: of acknowledgements that are read for one message; more is no conversation
LONGEST_ANSWER: Final = 64 * 1024


class FrameBroken(ConnectionError):
    """The receiver sent what is not MLLP, or more than acknowledgements have."""


class LineBusy(TimeoutError):
    """Another message was in flight for as long as one may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """MSA-1 of the acknowledgement (table 0008)."""

    code: str

    @property
    def is_accepted(self) -> bool:
        """CA too: MSH-15 and MSH-16 are empty, so nothing more need come."""
        return self.code in ("AA", "CA")

    @property
    def is_rejected(self) -> bool:
        return self.code in ("AR", "CR")

    @property
    def is_error(self) -> bool:
        return self.code in ("AE", "CE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a receiver listens."""

    host: str
    port: int
    tls: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """From `mllp://host:port` or `mllps://host:port`. Raises ValueError, without the URL."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("not an MLLP address") from None
        extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
        if parts.scheme not in ("mllp", "mllps") or not host or not host.isascii() or extra:
            raise ValueError("not an MLLP address")
        return cls(host=host, port=PORT if port is None else port, tls=parts.scheme == "mllps")


def client_tls(
    *, authorities: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Whom we believe (PEM; the machine's and the public authorities when None), and who we say we are.

    Raises OSError for a file that cannot be read or is not what it should be.
    """
    context = ssl.create_default_context(cafile=authorities) if authorities else trusted_authorities()
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


class Line:
    """For any number of threads: each waits its turn. `seconds` limit one exchange, connecting included."""

    def __init__(
        self,
        url: str,
        *,
        allow: AllowList,
        seconds: float,
        tls: ssl.SSLContext | None = None,
        resolve: Resolver = system_resolver,
    ) -> None:
        self.url = url
        self._allow = allow
        self._seconds = seconds
        self._tls = tls
        self._resolve = resolve
        self._turn = Lock()
        self._connection: socket.socket | None = None

    def send(self, message: bytes, control_id: str) -> Answer:
        """The answer that names `control_id`; all others are dropped.

        Raises OSError, AddressRefused, or ValueError for a URL that leads nowhere.
        """
        with self._taken(self._seconds):
            try:
                return self._exchange(message, control_id, _Deadline(self._seconds))
            except BaseException:
                self._hang_up()
                raise

    def close(self, *, wait: bool = True) -> None:
        """Hang up until the next message; a line in use is left alone unless it is to `wait`."""
        with suppress(LineBusy), self._taken(self._seconds if wait else 0):
            self._hang_up()

    @contextmanager
    def _taken(self, seconds: float) -> Iterator[None]:
        if not self._turn.acquire(timeout=seconds):
            raise LineBusy
        try:
            yield
        finally:
            self._turn.release()

    def _exchange(self, message: bytes, control_id: str, deadline: _Deadline) -> Answer:
        if self._connection is None or not _is_quiet(self._connection):
            self._hang_up()
            self._connection = self._connect(deadline)
        connection = self._connection
        connection.settimeout(deadline.left())
        connection.sendall(frame(message))
        for answer, is_last in _answers(connection, deadline):
            code, answered = _acknowledged(answer)
            if answered and answered == control_id:
                if not is_last:
                    self._hang_up()
                return Answer(code=code)
        raise ConnectionResetError

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, deadline: _Deadline) -> socket.socket:
        place = Place.of(self.url)
        if not self._allow.may_allow(place.host, place.port):
            raise AddressRefused
        answers = self._look_up(place, deadline)
        connection = _reach(self._allow.check(place.host, place.port, answers), place.port, deadline)
        if not place.tls:
            return connection
        try:
            connection.settimeout(deadline.left())
            tls = self._tls or trusted_authorities()
            return tls.wrap_socket(connection, server_hostname=place.host)
        except BaseException:
            connection.close()
            raise

    def _look_up(self, place: Place, deadline: _Deadline) -> Sequence[str]:
        with suppress(ValueError):
            return (str(ip_address(place.host)),)
        answer: Future[Sequence[str]] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._resolve(place.host, place.port))
            except Exception as error:  # noqa: BLE001  raised again in the thread that waits
                answer.set_exception(error)

        # getaddrinfo itself has no time limit
        Thread(target=ask, name="look-up", daemon=True).start()
        return answer.result(deadline.left())


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, more than none. Raises TimeoutError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _reach(addresses: Sequence[Address], port: int, deadline: _Deadline) -> socket.socket:
    """The first that takes the connection; each has its share of the time."""
    failure = OSError("the name has no address")
    for tried, address in enumerate(addresses):
        share = deadline.left() / (len(addresses) - tried)
        try:
            connection = socket.create_connection((str(address), port), timeout=share)
        except OSError as error:
            failure = error
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
    raise failure


def _is_quiet(connection: socket.socket) -> bool:
    """Whether the connection is open and nothing is unread: a late answer is not for the next message."""
    connection.settimeout(0)
    try:
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


def _answers(connection: socket.socket, deadline: _Deadline) -> Iterator[tuple[bytes, bool]]:
    """Each message that comes, and whether nothing has come behind it, until the receiver hangs up."""
    decoder, room = Decoder(most_bytes=LONGEST_ANSWER), LONGEST_ANSWER
    while room > 0:
        connection.settimeout(deadline.left())
        data = connection.recv(4096)
        if not data:
            return
        room -= len(data)
        answers = decoder.feed(data)
        if decoder.junk:
            raise FrameBroken
        for number, answer in enumerate(answers, start=1):
            yield answer, number == len(answers) and not decoder.is_inside
    raise FrameBroken


def _acknowledged(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2, empty where there are none; whatever the version and the character set."""
    try:
        message = parse_text(answer.decode("latin-1"))
    except (MessageUnreadable, MessageTooLarge):
        return "", ""
    return message.get("MSA", 1).strip().upper(), message.get("MSA", 2).strip()
