"""Where outgoing requests may go: the operator's list, and a client that keeps to it.

In: the operator's list and a URL. Out: an `httpx.Client` that looks a name up once for each request, checks
every answer and connects to a checked address; or AddressRefused. It does not know what is sent, or why.

An entry is a name (`lis.example.org`; `*.lab.example` for every name below it), an address (`10.1.2.3`) or
a network (`10.1.0.0/16`), on every port or on the one behind it (`lis.example.org:8443`, `[fd12::/48]:443`).

- What is not listed is refused; an empty list refuses everything.
- A listed name may stand for any ordinary address, private ones too: laboratories are on private networks.
- A name that is not listed is allowed where all its addresses are.
- Addresses in SPECIAL are refused unless the operator lists that very address, or a network that holds
  only addresses of that kind: a listed name does not open them, and neither does `0.0.0.0/0`.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread
from typing import Any, Self

import certifi
import httpcore
import httpx

from worker.errors import AddressRefused
from worker.settings import SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: host, port -> addresses; raises OSError where there are none
Resolver = Callable[[str, int], Sequence[str]]

#: Own machine, own link, many machines, cloud metadata, and IPv6 forms that hide an IPv4 address
#: (IANA special-purpose address registries; RFC 6890 and its updates).
SPECIAL: tuple[Network, ...] = tuple(
    ip_network(block)
    for block in (
        *("0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"),
        *("169.254.0.0/16", "fe80::/10", "fec0::/10"),
        *("224.0.0.0/4", "240.0.0.0/4", "ff00::/8", "192.0.0.0/24"),
        *("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
        *(
            "::/96",
            "::ffff:0:0/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2002::/16",
            "192.88.99.0/24",
            "2001::/32",
        ),
    )
)

_ENTRY = re.compile(r"(?:\[(?P<boxed>[^\[\]]+)\]|(?P<plain>[^\[\]:]+))(?::(?P<port>\d{1,5}|\*))?")
_NAME = re.compile(r"(?:[a-z0-9_-]+\.)*[0-9]*[a-z_-][a-z0-9_-]*")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListedName:
    #: lower case, ASCII, no dot at either end
    name: str
    #: whether the entry means the names below it, and not itself
    below: bool
    #: None: any
    port: int | None

    def covers(self, host: str, port: int) -> bool:
        fits = host.endswith(f".{self.name}") if self.below else host == self.name
        return fits and self.port in (None, port)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListedNetwork:
    network: Network
    #: None: any
    port: int | None

    def covers(self, address: Address, port: int) -> bool:
        # Of two blocks that hold one address, the one with the longer prefix lies inside the other.
        return (
            address in self.network
            and self.port in (None, port)
            and all(self.network.prefixlen >= block.prefixlen for block in SPECIAL if address in block)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowList:
    """The operator's list, read once."""

    names: tuple[_ListedName, ...] = ()
    networks: tuple[_ListedNetwork, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Raises SettingsError with the number of the entry that cannot be read."""
        listed = [_read_entry(entry.strip(), number) for number, entry in enumerate(entries, start=1)]
        return cls(
            names=tuple(entry for entry in listed if isinstance(entry, _ListedName)),
            networks=tuple(entry for entry in listed if isinstance(entry, _ListedNetwork)),
        )

    def may_allow(self, host: str, port: int) -> bool:
        """Whether it is worth looking `host` up: no, where no answer could be allowed."""
        if not 0 < port <= _HIGHEST_PORT:
            return False
        return self._lists_name(host, port) or any(entry.port in (None, port) for entry in self.networks)

    def check(self, host: str, port: int, answers: Sequence[str]) -> tuple[Address, ...]:
        """The answers as addresses, all of them allowed. Raises AddressRefused if one is not."""
        named = self._lists_name(host, port)
        addresses = tuple(ip_address(answer) for answer in answers)
        if not all(self._allows(address, port, named=named) for address in addresses):
            raise AddressRefused
        return addresses

    def _lists_name(self, host: str, port: int) -> bool:
        host = host.lower().removesuffix(".")
        return any(entry.covers(host, port) for entry in self.names)

    def _allows(self, address: Address, port: int, *, named: bool) -> bool:
        if named and not any(address in block for block in SPECIAL):
            return True
        return any(entry.covers(address, port) for entry in self.networks)


def pinned_client(
    allow: AllowList,
    *,
    seconds: float,
    plain_http: bool = False,
    resolve: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> httpx.Client:
    """A client that goes only where `allow` says, for any number of threads.

    `seconds` is the limit for a whole exchange, from looking the name up to the last byte of the answer.
    Every request has its own connection, looked up and checked anew. It follows no redirect, reads no proxy
    from the environment and keeps no cookie. Its requests raise AddressRefused or an httpx exception.
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


def _read_entry(text: str, number: int) -> _ListedName | _ListedNetwork:
    found = _ENTRY.fullmatch(text)
    place = (found["boxed"] or found["plain"]) if found else text
    port = int(found["port"]) if found and found["port"] not in (None, "*") else None
    if port is None or 0 < port <= _HIGHEST_PORT:
        try:
            return _ListedNetwork(network=ip_network(place), port=port)
        except ValueError:
            name = _ascii(place.removeprefix("*."))
        if _NAME.fullmatch(name):
            return _ListedName(name=name, below=place.startswith("*."), port=port)
    raise SettingsError(f"entry {number} of the allow-list is not a host name, an address or a network")


def _ascii(name: str) -> str:
    """The name as it stands in a request: lower case, IDNA."""
    try:
        return httpx.URL(scheme="https", host=name).raw_host.decode("ascii").removesuffix(".")
    except httpx.InvalidURL:
        return ""


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
        deadline = _Deadline(self._seconds if timeout is None else min(timeout, self._seconds))
        with _raised_as(httpcore.ConnectTimeout, httpcore.ConnectError):
            if not self._allow.may_allow(host, port):
                raise AddressRefused
            addresses = self._allow.check(host, port, self._look_up(host, port, deadline))
            return _LimitedStream(_connect_to_one(addresses, port, deadline), deadline)

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
