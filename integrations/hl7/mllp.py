"""MLLP: a listener. Whoever connects sends messages and gets one reply to each, in their order.

In: a handler, an address, limits, perhaps a TLS context. Out: replies, on the connection the messages came
by. Messages that have arrived together are handed on together. It knows neither what a message says nor what
a reply does, and logs no byte of either.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from integrations.hl7.frames import Decoder, frame
from worker import log
from worker.errors import MessageRefused, MessageTooLarge

_READ_BYTES: Final = 64 * 1024
#: for a sender to read the last reply before the connection is gone
_LINGER_SECONDS: Final = 2.0

_UNREAD: Final = "unread"

_log = log.get("hl7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Together they bound memory: twice `connections` times `message_bytes` at the very worst."""

    message_bytes: int = 4 * 1024 * 1024
    connections: int = 64
    #: messages in one call of the handler
    batch: int = 64
    #: from one message to the next
    idle_seconds: float = 3600.0
    #: from a message's first byte to its last
    message_seconds: float = 60.0
    #: for a sender to take a reply
    reply_seconds: float = 30.0
    handshake_seconds: float = 10.0
    #: for the handler to finish what it does when the listener stops
    stop_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end."""

    host: str
    #: common name of the client certificate, where one was asked for
    name: str = ""


#: one reply to each message; an empty one is not sent
Handler = Callable[[Sequence[bytes], Peer], Awaitable[Sequence[bytes]]]
#: the reply to a message that is not handed on: what has come of it, and why
Refuse = Callable[[bytes, MessageRefused], bytes]


def tls_context(certificate: Path, key: Path, client_authority: Path | None = None) -> ssl.SSLContext:
    """For a listener. With `client_authority` every client needs a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def serve(
    handler: Handler,
    *,
    host: str,
    port: int,
    stop: asyncio.Event,
    tls: ssl.SSLContext | None = None,
    limits: Limits | None = None,
    refuse: Refuse | None = None,
    started: Callable[[int], None] | None = None,
) -> None:
    """Listen until `stop` is set. What the handler is busy with then is still answered.

    `started` is told the port once there is one. A handler that raises ends its connection: the sender has
    no reply, and sends again. Raises OSError when the address cannot be had.
    """
    limits = limits or Limits()
    listener = _Listener(handler, limits, refuse)
    server = await asyncio.start_server(
        listener.connected, host, port, ssl=tls, limit=_READ_BYTES,
        ssl_handshake_timeout=limits.handshake_seconds if tls else None,
    )  # fmt: skip
    async with server:
        if started is not None:
            started(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        await listener.stop()


class _Listener:
    def __init__(self, handler: Handler, limits: Limits, refuse: Refuse | None) -> None:
        self._handler = handler
        self._limits = limits
        self._refuse = refuse
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._handler, self._limits, self._refuse, reader, writer)
        if len(self._connections) >= self._limits.connections:
            _log.warning("mllp.refused", reason="connections", count=len(self._connections))
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = connection
        try:
            await connection.run()
        finally:
            del self._connections[task]

    async def stop(self) -> None:
        for connection in self._connections.values():
            connection.stop()
        if not self._connections:
            return
        _, late = await asyncio.wait(self._connections, timeout=self._limits.stop_seconds)
        for task in late:
            self._connections[task].hang_up()
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next round of the loop


class _HandlerFailed(Exception):
    """It has been logged; what it was about must not be."""


class _Unread(Exception):
    """The sender does not take its replies."""


class _Connection:
    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        refuse: Refuse | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._handler, self._limits, self._refuse = handler, limits, refuse
        self._reader, self._writer = reader, writer
        self._decoder = Decoder(most_bytes=limits.message_bytes)
        self._peer = _peer(writer)
        self._answered = 0
        self._is_stopping = False
        #: the read that is waited for
        self._waiting: asyncio.Timeout | None = None

    def stop(self) -> None:
        self._is_stopping = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    def hang_up(self) -> None:
        self._writer.transport.abort()

    async def run(self) -> None:
        reason = await self._converse()
        if self._decoder.junk:
            _log.warning("mllp.junk", host=self._peer.host, count=self._decoder.junk)
        _log.info("mllp.closed", reason=reason, host=self._peer.host, count=self._answered)
        self._writer.close()
        try:
            async with asyncio.timeout(0 if reason == _UNREAD else _LINGER_SECONDS):
                await self._writer.wait_closed()
        except TimeoutError:
            self.hang_up()
        except OSError:
            pass  # the other side was quicker

    async def _converse(self) -> str:
        """Until one side has had enough; says why."""
        with suppress(OSError):
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            return await self._messages()
        except _Unread:
            return _UNREAD
        except TimeoutError:
            return "stopped" if self._is_stopping else "slow" if self._decoder.is_inside else "idle"
        except MessageTooLarge as error:
            await self._turn_away(error)
            return error.code
        except OSError:
            return "dropped"
        except _HandlerFailed:
            return "failed"

    async def _messages(self) -> str:
        now = asyncio.get_running_loop().time
        since, was_inside = now(), False
        while not self._is_stopping:
            seconds = self._limits.message_seconds if was_inside else self._limits.idle_seconds
            data = await self._read(since + seconds)
            if not data:
                return "ended"
            found = self._decoder.feed(data)
            for batch in _batches(found, self._limits.batch):
                await self._answer(batch)
            self._decoder.check()
            if found or was_inside is not self._decoder.is_inside:
                since, was_inside = now(), self._decoder.is_inside
        return "stopped"

    async def _read(self, until: float) -> bytes:
        try:
            async with asyncio.timeout_at(until) as self._waiting:
                return await self._reader.read(_READ_BYTES)
        finally:
            self._waiting = None

    async def _answer(self, batch: Sequence[bytes]) -> None:
        try:
            replies = await self._handler(batch, self._peer)
        except Exception as error:  # noqa: BLE001 the handler is not ours; the other connections go on
            _log.error("mllp.handler_failed", **log.kind_and_place(error))
            raise _HandlerFailed from None
        if len(replies) != len(batch):
            raise ValueError("a handler gives one reply to each message")
        self._answered += len(batch)
        await self._send(b"".join(frame(reply) for reply in replies if reply))

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            async with asyncio.timeout(self._limits.reply_seconds):
                await self._writer.drain()
        except TimeoutError:
            raise _Unread from None

    async def _turn_away(self, error: MessageRefused) -> None:
        """Answer, and read on for a moment: a connection closed over unread bytes loses the answer too."""
        reply = self._refuse(self._decoder.begun, error) if self._refuse else b""
        with suppress(OSError, TimeoutError, _Unread):
            await self._send(frame(reply) if reply else b"")
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._reader.read(_READ_BYTES):
                    pass


def _batches(found: list[bytes], most: int) -> Iterator[list[bytes]]:
    return (found[n : n + most] for n in range(0, len(found), most))


def _peer(writer: asyncio.StreamWriter) -> Peer:
    host = str((writer.get_extra_info("peername") or ("",))[0])
    certificate = writer.get_extra_info("peercert") or {}
    names = dict(pair for part in certificate.get("subject", ()) for pair in part)
    return Peer(host=host, name=names.get("commonName", ""))
