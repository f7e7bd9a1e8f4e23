"""Server: one OpenAI-compatible server over HTTP.

In: its URL, a token, a body to send. Out: the events of its answer, the models it lists, or errors of which
none quotes a URL, an answer or a case. It logs nothing, and goes nowhere but to its own server. A `Line` cuts
a request from another thread: the server sees that nobody listens, and (vLLM does) writes no further.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from worker import __version__
from worker.address import AllowList
from worker.engine.models.served_chat import Json, events, refusal
from worker.errors import AddressRefused, ModelUnavailable, ServerUnavailable
from worker.pinned import pinned_client
from worker.settings import SettingsError

CONNECT_SECONDS: Final = 10.0
#: of one exchange; the engine's deadlines come far sooner
EXCHANGE_SECONDS: Final = 24 * 3600.0
LIST_SECONDS: Final = 20.0
_PORTS: Final = {"http": 80, "https": 443}


class Line:
    """The connection of one request, for whoever may want to cut it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._cut = threading.Event()

    @property
    def is_cut(self) -> bool:
        return self._cut.is_set()

    def cut(self) -> None:
        """End the request, now or as soon as it is connected. What waits for its answer wakes up."""
        with self._lock:
            self._cut.set()
            self._shut()

    def wait(self, seconds: float) -> None:
        """Until it is cut, or for so long."""
        self._cut.wait(seconds)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore's `trace` extension: it tells of each connection that is made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._cut.is_set():
                    self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it has ended already
                # Of the connection beneath TLS; closing the file would not wake up who reads from it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`url` is the base, as configured. `token` is empty where none is asked for."""

    url: str
    token: str = field(default="", repr=False)
    plain_http: bool = False
    #: how long it may send nothing
    silence_seconds: float
    _client: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ModelUnavailable for what is no URL of a server."""
        client = pinned_client(self._alone(), seconds=EXCHANGE_SECONDS, plain_http=self.plain_http)
        object.__setattr__(self, "_client", client)

    @property
    def place(self) -> str:
        """Host and port."""
        host, port = _host_and_port(self.url)
        return f"{host}:{port}"

    def models(self) -> list[Json]:
        """What it lists. Raises ModelUnavailable, ServerUnavailable."""
        timeout = httpx.Timeout(min(LIST_SECONDS, self.silence_seconds), connect=CONNECT_SECONDS)
        with _mapped():
            answer = self._client.get(self._path("models"), headers=self._headers(), timeout=timeout)
        if answer.status_code != 200:
            raise refusal(answer.status_code)
        try:
            return [entry for entry in answer.json()["data"] if isinstance(entry["id"], str)]
        except (KeyError, TypeError, ValueError):
            raise ServerUnavailable("unreadable") from None

    def ask(self, said: Json, line: Line) -> Generator[Json, None, None]:
        """The events of the answer, as they come. Raises PathlaneError."""
        timeout = httpx.Timeout(self.silence_seconds, connect=CONNECT_SECONDS)
        headers = self._headers() | {"accept": "text/event-stream", "content-type": "application/json"}
        content = json.dumps(said, separators=(",", ":")).encode()
        with (
            _mapped(),
            self._client.stream(
                "POST", self._path("chat/completions"), content=content, headers=headers, timeout=timeout,
                extensions={"trace": line.trace},
            ) as answer,
        ):  # fmt: skip
            if answer.status_code != 200:
                raise refusal(answer.status_code, answer.headers.get("retry-after", ""))
            yield from events(answer.iter_raw())

    def _path(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _headers(self) -> dict[str, str]:
        headers = {"user-agent": f"pathlane/{__version__}", "accept-encoding": "identity"}
        return headers | ({"authorization": f"Bearer {self.token}"} if self.token else {})

    def _alone(self) -> AllowList:
        """A list with this server on it, and nothing else."""
        host, port = _host_and_port(self.url)
        if host == "localhost":  # RFC 6761: it is this machine, which the list opens by address only
            return AllowList.of([f"127.0.0.1:{port}", f"[::1]:{port}"])
        try:
            return AllowList.of([f"[{host}]:{port}" if ":" in host else f"{host}:{port}"])
        except SettingsError:
            raise ModelUnavailable(_ADVICE) from None


_ADVICE: Final = "Set PATHLANE_SERVED_URL to the server's base, such as `https://gpu.example.org:8000/v1`."


def _host_and_port(url: str) -> tuple[str, int]:
    """Raises ModelUnavailable. A URL with a password in it is none: passwords belong into the token file."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise ModelUnavailable(_ADVICE) from None
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ModelUnavailable(_ADVICE)
    return parts.hostname, port


@contextmanager
def _mapped() -> Iterator[None]:
    """What can go wrong on the way, as errors of ours."""
    try:
        yield
    except AddressRefused:
        raise ModelUnavailable(
            "PATHLANE_SERVED_URL is not https, or its name stands for an address of a special kind. On the "
            "same machine or a closed network, set PATHLANE_SERVED_PLAIN_HTTP=true."
        ) from None
    except httpx.ConnectError as error:
        reason = "certificate" if isinstance(error.__cause__, ssl.SSLError) else "unreachable"
        raise ServerUnavailable(reason) from None
    except httpx.ConnectTimeout:
        raise ServerUnavailable("unreachable") from None
    except httpx.TimeoutException:
        raise ServerUnavailable("silent") from None
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError):
        raise ServerUnavailable("broken") from None
