"""A link: a TCP address on loopback before another server, over which a network's faults can come.

In: where the server listens (a unix socket, or a host and port). Out: a port that leads there, until it is told
to delay, to trickle, to swallow, to reset or to refuse; `heal` ends that. It knows no protocol.

`swallow` is the half-open connection: bytes are taken and thrown away, and no end is ever told. Connections
that were open then, or came while it lasted, stay so for ever; only new ones work after `heal`, as behind a
firewall that has forgotten them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

Server = Path | tuple[str, int]

_CHUNK = 64 * 1024
#: linger on, for no time: what close() sends is a RST
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class Connection:
    """One client and its way to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    #: swallows both ways, and never ends by itself
    half_open: bool = False

    def cut(self) -> None:
        sock = self.client.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass(slots=True, kw_only=True)
class Link:
    to: Server
    port: int = 0
    #: each way, in seconds
    delayed: float = 0
    #: seconds between two bytes; 0 is as fast as can be
    trickling: float = 0
    swallowing: bool = False
    connections: set[Connection] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _listener: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @contextmanager
    def open(self) -> Iterator[Link]:
        thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        thread.start()
        try:
            self._do(self._listen)
            yield self
        finally:
            self._do(self._close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    # the faults: each returns at once, and lasts until `heal`

    def delay(self, seconds: float) -> None:
        self.delayed = seconds

    def trickle(self, seconds: float) -> None:
        """One byte each way in so many seconds."""
        self.trickling = seconds

    def swallow(self) -> None:
        async def swallow() -> None:
            self.swallowing = True
            for connection in self.connections:
                connection.half_open = True

        self._do(swallow)

    def reset(self) -> None:
        """Every live connection ends with a RST; new ones come through."""

        async def reset() -> None:
            for connection in list(self.connections):
                connection.cut()

        self._do(reset)

    def refuse(self) -> None:
        """Nobody listens any more, and every live connection is reset."""
        self._do(self._deafen)
        self.reset()

    def heal(self) -> None:
        async def heal() -> None:
            self.delayed = self.trickling = 0
            self.swallowing = False
            if self._listener is None:
                await self._listen()

        self._do(heal)

    # how it is kept

    def _do(self, action: Callable) -> None:
        asyncio.run_coroutine_threadsafe(action(), self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _deafen(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _close(self) -> None:
        await self._deafen()
        for connection in list(self.connections):
            connection.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            coming, server = await self._connect()
        except OSError:
            client.transport.abort()
            return
        connection = Connection(client, server, half_open=self.swallowing)
        self.connections.add(connection)
        for here, there in ((reader, server), (coming, client)):
            task = self._loop.create_task(self._carry(connection, here, there))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.to, Path):
            return await asyncio.open_unix_connection(self.to)
        return await asyncio.open_connection(*self.to)

    async def _carry(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._pass(connection, data, writer)
        if connection.half_open:
            return  # nobody is told that the other side has left
        self.connections.discard(connection)
        for side in (connection.client, connection.server):
            side.close()

    async def _pass(self, connection: Connection, data: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.delayed)
        while data and self.trickling and not connection.half_open:
            writer.write(data[:1])
            data = data[1:]
            await asyncio.sleep(self.trickling)
        if data and not connection.half_open:
            writer.write(data)
            await writer.drain()


def server_of(url: str, port: int) -> Server:
    """Where a database's or broker's URL points to; `port` where it names none."""
    parsed = urlsplit(url)
    folder = parse_qs(parsed.query).get("host", [""])[0]
    if folder:
        return Path(folder) / f".s.PGSQL.{port}"
    return (parsed.hostname or "127.0.0.1", parsed.port or port)
