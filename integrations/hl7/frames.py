"""Frames: the bytes of a connection become messages (MLLP, HL7 v2.5.1 Implementation Guide, appendix C).

In: bytes, in whatever pieces they come. Out: the messages that are complete; MessageTooLarge. It opens no
connection and knows no message.
"""

from __future__ import annotations

from typing import Final

from worker.errors import MessageTooLarge

START: Final = b"\x0b"
END: Final = b"\x1c\r"
#: inside a frame, a start sign before anything else is text: word processors leave it behind
_STARTS_AGAIN: Final = b"\x0bMSH"


def frame(message: bytes) -> bytes:
    return START + message + END


class Decoder:
    """One direction of one connection."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most = most_bytes
        #: empty, or a message that has begun, from its start sign on
        self._buffer = bytearray()
        #: there is no end before this
        self._searched = 0
        self._is_too_large = False
        #: bytes outside of frames so far, and of messages that were begun and never ended
        self.junk = 0

    @property
    def is_inside(self) -> bool:
        return bool(self._buffer)

    @property
    def begun(self) -> bytes:
        """As much as there is of the message that has begun."""
        return bytes(self._buffer[1 : self._most + 1])

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete with `data`. After one that is too large there are no more."""
        self._buffer += data
        found: list[bytes] = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def check(self) -> None:
        """Raises MessageTooLarge, once the messages before it are out of the way."""
        if self._is_too_large:
            raise MessageTooLarge(f"At most {self._most} bytes.")

    def _next(self) -> bytes | None:
        if not self._has_started() or self._is_too_large:
            return None
        end = self._buffer.find(END, self._searched)
        size = (len(self._buffer) if end < 0 else end) - 1
        if size > self._most:
            self._is_too_large = True
            return None
        if end < 0:
            self._searched = len(self._buffer) - 1
            return None
        message = bytes(self._buffer[1:end])
        del self._buffer[: end + len(END)]
        self._searched = 0
        return self._last_begun(message)

    def _has_started(self) -> bool:
        if self._buffer.startswith(START):
            return True
        start = self._buffer.find(START)
        outside = self._buffer if start < 0 else self._buffer[:start]
        self.junk += len(outside.replace(b"\r", b"").replace(b"\n", b""))
        del self._buffer[: len(outside)]
        return start >= 0

    def _last_begun(self, message: bytes) -> bytes:
        """A sender that broke off and began again: the two must not be read as one."""
        again = message.rfind(_STARTS_AGAIN)
        if again < 0:
            return message
        self.junk += again
        return message[again + len(START) :]
