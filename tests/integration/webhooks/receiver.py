"""A receiver on loopback that keeps what it is sent and answers as it is told, well or badly.

A way to answer is a function of the handler; `will` lines them up, and the last one is repeated.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread

import standardwebhooks

STEP = 0.05  #: seconds between two bytes of a drip


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:  # its sender died in the middle of it: that is no request
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.next_answer(Received(path=self.path, headers=headers, body=body))(self)

    do_CONNECT = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


Way = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A sender that hangs up is part of the game."""


@dataclass(kw_only=True)
class Receiver:
    address: str = "127.0.0.1"
    port: int = 0
    ways: list[Way] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    closing: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def url(self, host: str = "", scheme: str = "http") -> str:
        return f"{scheme}://{host or self.address}:{self.port}/in"

    def will(self, *ways: Way) -> None:
        self.ways = list(ways)

    def next_answer(self, request: Received) -> Way:
        with self.lock:
            self.received.append(request)
            return self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]

    def verify(self, secret: str) -> None:
        """Every request so far, by the reference package."""
        for request in self.received:
            standardwebhooks.Webhook(secret).verify(request.body, request.headers)

    @contextmanager
    def listening(self, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
        self.closing.clear()
        server = Server((self.address, self.port), type("Bound", (Handler,), {"receiver": self}))
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = server.server_port
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            server.shutdown()
            thread.join()
            server.server_close()


@contextmanager
def full_house(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port where nobody gets in: its queue is full and nobody takes from it, so connecting waits."""
    waiting = [socket.socket() for _ in range(4)]
    try:
        with socket.create_server((address, port), backlog=0) as server:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(server.getsockname())
            yield server.getsockname()[1]
    finally:
        for one in waiting:
            one.close()


def status(code: int, **headers: str) -> Way:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


def silence(handler: Handler) -> None:
    """Take the request and say nothing."""
    handler.receiver.closing.wait(10)


def drop(handler: Handler) -> None:
    """Take the request and hang up: the sender cannot know that it arrived."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def drip(text: bytes) -> Way:
    """One byte at a time, without end: no single read ever waits long."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(text)
        while not handler.receiver.closing.wait(STEP):
            handler.wfile.write(b"x")

    return answer


def flood(text: bytes, more: bytes) -> Way:
    """As much as the sender will take, for ten seconds at most."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(text)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            handler.wfile.write(more)

    return answer


def says(text: bytes) -> Way:
    """These bytes, then the end."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(text)
        handler.close_connection = True

    return answer
