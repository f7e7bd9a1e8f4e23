"""The laboratory's system that results are sent to, by others: python-hl7's server, which errs on demand, and
simple-hl7's, which can be killed.

In: a port, and whether it is up. Out: every message it received, as it came. Neither side of the line knows
that this is a test.
"""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import hl7
from hl7.mllp import InvalidBlockError, start_hl7_server

from tests.peers import PeerServer, npm_peers, running_server

#: where pytest keeps them too
PEERS = Path(__file__).parents[2] / ".pytest_cache" / "d" / "npm-peers"
ACK = "MSH|^~\\&|LIS|LAB|PATHLANE||20261123100000||ACK^R01^ACK|ACK{id}|P|2.5.1\rMSA|{code}|{id}\r"


class Server(Protocol):
    port: int

    @property
    def received(self) -> list[bytes]: ...

    def up(self) -> None: ...

    def down(self) -> None: ...

    def close(self) -> None: ...


class Moody:
    """python-hl7's server: the first time it hears of a result it may err, hang up, or answer too late."""

    def __init__(self, port: int, *, late: float = 2.5) -> None:
        self.port = port
        self.received: list[bytes] = []
        self.moods: Counter[str] = Counter()
        self._heard: set[str] = set()
        self._late = late
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task] = set()

    def up(self) -> None:
        asyncio.run_coroutine_threadsafe(self._up(), self._loop).result(10)

    def down(self) -> None:
        asyncio.run_coroutine_threadsafe(self._down(), self._loop).result(10)

    def close(self) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _up(self) -> None:
        self._server = await start_hl7_server(self._connected, "127.0.0.1", self.port, encoding="utf-8")

    async def _down(self) -> None:
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _connected(self, reader, writer) -> None:
        talk = self._loop.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader, writer) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, InvalidBlockError):
                while await self._answer(await reader.readblock(), writer):
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def _answer(self, raw: bytes, writer) -> bool:
        """Whether the conversation goes on."""
        self.received.append(raw)
        control_id = str(hl7.parse(raw.decode()).segment("MSH")[10])
        mood = self._mood(control_id)
        self.moods[mood] += 1
        if mood == "late":
            await asyncio.sleep(self._late)
        if mood != "drop":
            code = "AE" if mood == "err" else "AA"
            writer.writeblock(ACK.format(code=code, id=control_id).encode())
        return mood != "drop"

    def _mood(self, control_id: str) -> str:
        again = control_id in self._heard
        self._heard.add(control_id)
        moods = {0: "late", 1: "drop", 2: "drop", 3: "drop", 4: "err", 5: "err", 6: "err"}
        return "take" if again else moods.get(zlib.crc32(control_id.encode()) % 60, "take")


class Peer:
    """simple-hl7's server, killed and started again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._script = npm_peers(PEERS) / "simple_hl7_server.js"
        self._before: list[str] = []
        self._opened = ExitStack()
        self._server: PeerServer | None = None

    @property
    def received(self) -> list[bytes]:
        now = list(self._server.received.queue) if self._server else []
        return [text.encode() for text in (*self._before, *now)]

    def up(self) -> None:
        self._server = self._opened.enter_context(running_server(self._script, self.port))

    def down(self) -> None:
        """SIGKILL; what it had printed by then counts as received."""
        self._opened.close()
        if self._server is not None:
            self._before += self._server.received.queue
        self._server = None

    close = down


@contextmanager
def running(server: Server) -> Iterator[None]:
    server.up()
    try:
        yield
    finally:
        server.close()


def away(server: Server, seconds: float) -> None:
    server.down()
    time.sleep(seconds)
    server.up()
