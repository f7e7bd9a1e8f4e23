"""The DICOM listener's connections, with limits that pynetdicom 3.0 does not set.

In: what a peer sends. Out: the same bytes, or a connection that ends: when a PDU is announced as longer than
anything that was agreed, when it takes too long to come, and when nothing comes. It knows the six bytes in
front of a PDU (PS3.8 section 9.3) and nothing behind them.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from socketserver import TCPServer
from typing import Any, Final, cast

from pynetdicom.transport import ThreadedAssociationServer

#: as advertised; a sender splits an object into pieces of this length
PDU_BYTES: Final = 131_072
#: pynetdicom reads whatever length is announced into memory, up to 4 GiB. An association request with 128
#: contexts of 45 syntaxes has 160 KB.
LONGEST_PDU: Final = 1024 * 1024
#: for the next byte, and for one PDU
SECONDS: Final = 30.0

_HEADER = 6


class _Limited:
    """Beside a socket class: follows where PDUs begin. Sockets are made without our `__init__`."""

    _header: bytes = b""
    _left: int = 0
    _ends: float = 0.0

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        data: bytes = super().recv(buflen, flags)  # type: ignore[misc]
        self._follow(data)
        return data

    def shutdown(self, how: int) -> None:
        """Of a connection that is gone already too: pynetdicom closes only what it could shut down."""
        with suppress(OSError):
            super().shutdown(how)  # type: ignore[misc]

    def _follow(self, data: bytes) -> None:
        now = time.monotonic()
        if (self._left or self._header) and now > self._ends:
            self._end("the PDU takes too long")
        while data:
            if not self._left and not self._header:
                self._ends = now + SECONDS
            data = self._body(data) if self._left else self._head(data)

    def _body(self, data: bytes) -> bytes:
        taken = min(len(data), self._left)
        self._left -= taken
        return data[taken:]

    def _head(self, data: bytes) -> bytes:
        missing = _HEADER - len(self._header)
        self._header += data[:missing]
        if len(self._header) == _HEADER:
            self._left = int.from_bytes(self._header[2:], "big")
            self._header = b""
            if self._left > LONGEST_PDU:
                self._end("the PDU is too long")
        return data[missing:]

    def _end(self, why: str) -> None:
        self.shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError(why)


class _Socket(_Limited, socket.socket):
    pass


class TlsSocket(_Limited, ssl.SSLSocket):
    """For `SSLContext.sslsocket_class`."""


class LimitedServer(ThreadedAssociationServer):
    """pynetdicom's server, with our sockets."""

    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = cast("socket.socket", self.socket).accept()
        connection: socket.socket = _Socket(fileno=accepted.detach())
        connection.settimeout(SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context is not None:
            # The handshake comes with the first byte that is read, in the association's own thread: here it
            # would keep everybody else waiting.
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def shutdown(self) -> None:
        """Stop taking connections. pynetdicom's own also strikes the server from a list it is not on."""
        TCPServer.shutdown(self)
        self.server_close()
