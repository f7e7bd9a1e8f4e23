"""A client that keeps to the operator's list, on the address that was checked.

In: an `AllowList` and a time limit. Out: an `httpx.Client` that looks a name up once for each request, checks
every answer and connects to a checked address; or AddressRefused. It does not know what is sent, or why.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from threading import Thread
from typing import Any

import certifi
import httpcore
import httpx

from worker.address import Address, AllowList
from worker.errors import AddressRefused

#: host, port -> addresses; raises OSError where there are none
Resolver = Callable[[str, int], Sequence[str]]


def pinned_client(
    allow: AllowList,
    *,
    seconds: float,
    plain_http: bool = False,
    resolve: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> httpx.Client:
    """A client that goes only where `allow` says, for any number of threads.

    `seconds` is the limit for a whole exchange, from looking the name up to the last byte of the answer;
    a request's own httpx timeouts bound its parts.
    Every request has its own connection, looked up and checked anew. It follows no redirect, reads no proxy
    from the environment and keeps no cookie. Its requests raise AddressRefused, an httpx exception, or
    UnicodeError for a name that IDNA cannot read.
    """
    backend = _CheckedBackend(allow, seconds, resolve or system_resolver)
    return httpx.Client(
        transport=_PinnedTransport(backend, tls or trusted_authorities(), plain_http=plain_http),
        timeout=seconds,
        trust_env=False,
        follow_redirects=False,
        headers={"connection": "close"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


def trusted_authorities() -> ssl.SSLContext:
    """The public authorities, and those of the machine: that is where a hospital installs its own."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def system_resolver(host: str, port: int) -> Sequence[str]:
    # As bytes: a str goes through Python's IDNA codec first, which raises UnicodeError for odd names.
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, at_most: float | None = None) -> float:
        """Seconds left, more than none. Raises TimeoutError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if at_most is None else min(left, at_most)


@contextmanager
def _raised_as(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timed_out from error
    except OSError as error:
        raise failed from error


class _CheckedBackend(httpcore.NetworkBackend):
    """Opens connections for httpcore, to checked addresses only."""

    def __init__(self, allow: AllowList, seconds: float, resolve: Resolver) -> None:
        self._allow = allow
        self._seconds = seconds
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        deadline = _Deadline(self._seconds)
        connecting = _Deadline(self._seconds if timeout is None else min(timeout, self._seconds))
        with _raised_as(httpcore.ConnectTimeout, httpcore.ConnectError):
            if not self._allow.may_allow(host, port):
                raise AddressRefused
            addresses = self._allow.check(host, port, self._look_up(host, port, connecting))
            return _LimitedStream(_connect_to_one(addresses, port, connecting), deadline)

    def _look_up(self, host: str, port: int, deadline: _Deadline) -> Sequence[str]:
        try:
            return (str(ip_address(host)),)
        except ValueError:
            return _within(deadline, lambda: self._resolve(host, port))


def _within(deadline: _Deadline, look_up: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What `look_up` gives, or TimeoutError: getaddrinfo itself has no time limit."""
    answer: Future[Sequence[str]] = Future()

    def ask() -> None:
        try:
            answer.set_result(look_up())
        except Exception as error:  # noqa: BLE001  raised again in the thread that waits
            answer.set_exception(error)

    Thread(target=ask, name="look-up", daemon=True).start()
    return answer.result(deadline.left())


def _connect_to_one(addresses: Sequence[Address], port: int, deadline: _Deadline) -> socket.socket:
    """The first that takes the connection; each has its share of the time, so a silent one leaves some."""
    failure = OSError("the name has no address")
    for tried, address in enumerate(addresses):
        try:
            share = deadline.left() / (len(addresses) - tried)
            connection = socket.create_connection((str(address), port), timeout=share)
        except OSError as error:
            failure = error
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
    raise failure


class _LimitedStream(httpcore.NetworkStream):
    """One connection, with one deadline for everything that passes over it."""

    def __init__(self, connection: socket.socket, deadline: _Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _raised_as(httpcore.ReadTimeout, httpcore.ReadError):
            self._connection.settimeout(self._deadline.left(timeout))
            return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _raised_as(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                self._connection.settimeout(self._deadline.left(timeout))
                buffer = buffer[self._connection.send(buffer) :]

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with _raised_as(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                self._connection.settimeout(self._deadline.left(timeout))
                secured = ssl_context.wrap_socket(self._connection, server_hostname=server_hostname)
            except BaseException:
                self.close()
                raise
            return _LimitedStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._connection if info == "socket" else None


#: httpx names its transport exceptions after httpcore's; a test holds the two trees together.
_TRANSLATION: dict[type[Exception], type[httpx.TransportError]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        *("TimeoutException", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"),
        *("NetworkError", "ConnectError", "ReadError", "WriteError"),
        *("ProtocolError", "LocalProtocolError", "RemoteProtocolError"),
        *("ProxyError", "UnsupportedProtocol"),
    )
}


@contextmanager
def _translated() -> Iterator[None]:
    """httpcore's exceptions as httpx's, without their text: it may quote what was sent or received.

    Where an OSError is behind one, that is its `__cause__`.
    """
    try:
        yield
    except tuple(_TRANSLATION) as error:
        kind = next(_TRANSLATION[base] for base in type(error).__mro__ if base in _TRANSLATION)
        # The pool raises `from None`, which leaves the reason in __context__ alone.
        raise kind(kind.__name__) from error.__context__ or error


class _PinnedTransport(httpx.BaseTransport):
    """httpx's own HTTPTransport takes no network backend (as of 0.28), so this is one that does."""

    def __init__(self, backend: _CheckedBackend, tls: ssl.SSLContext, *, plain_http: bool) -> None:
        self._plain_http = plain_http
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls, max_connections=None, max_keepalive_connections=0, network_backend=backend
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "http" and not self._plain_http:
            raise AddressRefused("Only https is allowed.")
        url = request.url
        core = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translated():
            answer = self._pool.handle_request(core)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Answer(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Answer(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        with _translated():
            self._answer.close()
