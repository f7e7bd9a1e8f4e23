"""A receiver on loopback that does what a test scripts: a real socket, and one act for each message."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

START, END = b"\x0b", b"\x1c\r"

#: what is done with a message: the connection it came on, and its control id
Act = Callable[[socket.socket, str], None]


def acknowledgement(
    control_id: str, code: str = "AA", *, head: str = "ACK^R01^ACK", version: str = "2.5.1"
) -> bytes:
    text = f"MSH|^~\\&|LIS|LAB|PATHLANE|PATH|20261123100200||{head}|A1|P|{version}\rMSA|{code}|{control_id}\r"
    return START + text.encode() + END


def says(*codes: str, **fields: str) -> Act:
    """One acknowledgement for each code, in one packet."""
    return lambda connection, control_id: connection.sendall(
        b"".join(acknowledgement(control_id, code, **fields) for code in codes)
    )


def sends(data: bytes) -> Act:
    return lambda connection, _: connection.sendall(data)


def is_silent(_connection: socket.socket, _control_id: str) -> None:
    pass


def hangs_up(connection: socket.socket, _control_id: str) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def after(event: threading.Event, act: Act) -> Act:
    def later(connection: socket.socket, control_id: str) -> None:
        event.wait(10)
        act(connection, control_id)

    return later


def both(*acts: Act) -> Act:
    def one_after_the_other(connection: socket.socket, control_id: str) -> None:
        for act in acts:
            act(connection, control_id)

    return one_after_the_other


@dataclass
class Receiver:
    """Plays `acts`, one for each message in the order they come, over any number of connections."""

    acts: Sequence[Act]
    tls: ssl.SSLContext | None = None
    #: (number of the connection, control id), in the order they came
    received: list[tuple[int, str]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.url = f"{'mllps' if self.tls else 'mllp'}://127.0.0.1:{self.port}"
        self._turn = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in [self._server, *self._open]:
            connection.close()

    def _accept(self) -> None:
        number = 0
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                number += 1
                thread = threading.Thread(target=self._serve, args=(connection, number))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError):
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            waiting = b""
            while data := connection.recv(65536):
                waiting += data
                while END in waiting:
                    frame, _, waiting = waiting.partition(END)
                    self._take(connection, number, frame)

    def _take(self, connection: socket.socket, number: int, frame: bytes) -> None:
        if not frame.startswith(START):
            return
        control_id = frame.split(b"\r")[0].split(b"|")[9].decode()
        with self._turn:
            act = self.acts[len(self.received)]
            self.received.append((number, control_id))
            self.messages.append(frame[1:])
        with suppress(OSError):  # the sender may have hung up
            act(connection, control_id)
