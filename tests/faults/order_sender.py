"""The laboratory's system that sends orders: a third-party MLLP client, as stubborn as a real one.

In: orders, one after the other. Out: for each message whether it was said AA to. The same bytes go out under
the same MSH-10 until then, over a new connection whenever the last one was lost or said nothing in time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import hl7
from hl7.client import MLLPClient

from tests.faults.exchange import Sent
from tests.messages import ROUTINE, STAT, lab_104

#: a sender that waits longer than that sends again
PATIENCE_SECONDS = 2.0
#: every so many orders one is announced twice at the same time, under two control ids: by scanner and LIS
TWICE = 10
#: every so many orders one is STAT
URGENT = 7


class RefusedForGood(AssertionError):
    """AR: these messages are all well formed."""


@dataclass(kw_only=True)
class Orders:
    """What is to be sent: each slide of a case of its own, and of a patient of its own."""

    series: tuple[str, ...]
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _again: list[Sent] = field(default_factory=list)

    def next(self) -> tuple[Sent, bytes]:
        with self.lock:
            sent = self._again.pop() if self._again else self._new()
        return sent, self._message(int(sent.patient.removeprefix("P")), sent)

    def _new(self) -> Sent:
        self.number += 1
        accession = f"S26-{self.number:05}"
        sent = Sent(
            control_id=f"ORD{self.number}", accession=accession, slide=f"{accession}-A1",
            patient=f"P{self.number:09}",
        )  # fmt: skip
        if self.number % TWICE == 0:
            self._again.append(replace(sent, control_id=f"{sent.control_id}R"))
        return sent

    def _message(self, number: int, sent: Sent) -> bytes:
        text = lab_104(
            sent.control_id, series=self.series[number % len(self.series)], accession=sent.accession,
            slide="A1", priority=STAT if number % URGENT == 0 else ROUTINE,
        )  # fmt: skip
        return text.replace("1234567890", sent.patient).encode()


class Client(MLLPClient):
    """It does not leave its socket behind where nobody listens."""

    def __init__(self, host: str, port: int) -> None:
        try:
            super().__init__(host, port)
        except OSError:
            self.close()
            raise


class Line:
    """One connection at a time, one message at a time."""

    def __init__(self, port: int, answers: Counter[str]) -> None:
        self._port = port
        self._client: Client | None = None
        self.answers = answers

    def deliver(self, message: bytes, control_id: str, given_up: Callable[[], bool]) -> bool:
        """Until it is said AA to; False when given up."""
        while not given_up():
            said = self._ask(message, control_id)
            self.answers[said] += 1
            if said == "AA":
                return True
            if said == "AR":
                raise RefusedForGood
            time.sleep(0.2)
        return False

    def _ask(self, message: bytes, control_id: str) -> str:
        """MSA-1 of the answer to this message; `nobody` was there, or `silence`: it may have been taken."""
        try:
            client = self._client = self._client or Client("127.0.0.1", self._port)
        except OSError:
            return "nobody"
        try:
            client.socket.settimeout(PATIENCE_SECONDS)
            answer = client.send_message(message)
            said = hl7.parse(answer.decode().strip("\x0b\x1c\r") + "\r").segment("MSA")
            assert str(said[2]) == control_id, f"{said[2]} was answered to {control_id}"
            return str(said[1])
        except (OSError, hl7.HL7Exception):
            self.close()
            return "silence"

    def close(self) -> None:
        if self._client is not None:
            with suppress(OSError):
                self._client.close()
        self._client = None


@dataclass(kw_only=True)
class Senders:
    """Several connections that send while they may."""

    port: int
    orders: Orders
    #: whether another order may go out now
    may_send: Callable[[], bool]
    connections: int = 4
    sent: list[Sent] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _end: float = float("inf")

    def start(self) -> None:
        self.stopped.clear()
        self._threads = [threading.Thread(target=self._send) for _ in range(self.connections)]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 60) -> None:
        """Nothing new goes out; what is on its way is sent until it is taken."""
        self.stopped.set()
        self._end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _send(self) -> None:
        line = Line(self.port, self.answers)
        try:
            while not self.stopped.is_set():
                if not self.may_send():
                    self.stopped.wait(0.02)
                    continue
                sent, message = self.orders.next()
                taken = line.deliver(message, sent.control_id, lambda: time.monotonic() > self._end)
                self.sent.append(replace(sent, acknowledged=taken))
        except BaseException as error:  # noqa: BLE001  raised again where it can be seen
            self.errors.append(error)
        finally:
            line.close()
