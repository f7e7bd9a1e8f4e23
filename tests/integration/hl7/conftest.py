"""Listeners that acknowledge whatever they can read, and what they were sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from threading import Event, Thread
from typing import Self

import pytest

from integrations.hl7.acknowledgement import acknowledge
from integrations.hl7.frames import Decoder, frame
from integrations.hl7.head import read_head
from integrations.hl7.message import parse
from integrations.hl7.mllp import Limits, Peer, serve
from worker.errors import MessageRefused

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)


@dataclass
class Acknowledging:
    """A handler: reads each message and says so. What it was given is kept, batch by batch."""

    batches: list[list[bytes]] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    numbers: count = field(default_factory=lambda: count(1))

    async def __call__(self, batch: Sequence[bytes], peer: Peer) -> list[bytes]:
        self.batches.append(list(batch))
        self.peers.append(peer)
        return [self.reply(raw) for raw in batch]

    def reply(self, raw: bytes, problem: MessageRefused | None = None) -> bytes:
        if problem is None:
            try:
                parse(raw, charset="8859/1")
            except MessageRefused as error:
                problem = error
        return acknowledge(read_head(raw), problem, control_id=f"A{next(self.numbers)}", at=AT)

    @property
    def messages(self) -> list[bytes]:
        return [raw for batch in self.batches for raw in batch]


@dataclass
class Running:
    """A listener in a thread of its own."""

    port: int
    stop: Event
    stopped: Event

    def connect(self) -> Conversation:
        return Conversation(socket.create_connection(("127.0.0.1", self.port), 10))


class Conversation:
    """A client of our own, for what no well-behaved one does."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(10)
        self._decoder = Decoder(most_bytes=1 << 20)
        self._replies: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> bytes | None:
        """The next reply; None when the listener has hung up."""
        while not self._replies:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._replies += self._decoder.feed(data)
        return self._replies.pop(0)

    def ask(self, message: bytes) -> bytes | None:
        self.send(frame(message))
        return self.reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@contextmanager
def listening(handler, **settings):
    """A listener on a free port until the block ends; its stop is waited for."""
    started, stop = Event(), Event()
    box = {}

    async def main():
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def up(port):
            box["port"] = port
            started.set()

        waiting = loop.run_in_executor(None, stop.wait)
        waiting.add_done_callback(lambda _: done.set())
        await serve(handler, host="127.0.0.1", port=0, stop=done, started=up, **settings)

    stopped = Event()

    def run():
        try:
            asyncio.run(main())
        except BaseException as error:
            box["error"] = error
            raise
        finally:
            stopped.set()
            started.set()

    thread = Thread(target=run)
    thread.start()
    try:
        assert started.wait(10)
        assert "port" in box, box
        yield Running(box["port"], stop, stopped)
    finally:
        stop.set()
        thread.join(30)
    assert "error" not in box
    assert not thread.is_alive()


@pytest.fixture
def handler():
    return Acknowledging()


@pytest.fixture
def listener(handler):
    with listening(handler, refuse=handler.reply, limits=Limits(message_bytes=100_000)) as running:
        yield running
