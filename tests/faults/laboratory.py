"""A laboratory: a ward whose orders arrive over MLLP and whose results leave for a third-party HL7 server.

In: what a ward is given, and which server. Out: a ward that also runs the HL7 listener, senders of orders and
the laboratory's system; and a verdict that holds what was sent against what came back.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from integrations.demo import cases
from tests.faults.exchange import CONTROL_ID_LENGTH, Exchange, jobs_of
from tests.faults.hl7_servers import Moody, Server, away, running
from tests.faults.invariants import Verdict, check, snapshot
from tests.faults.order_sender import Orders, Senders
from tests.faults.ward import ROOT, SECRET, Part, Ward
from tests.integration.webhooks.receiver import Way
from worker.store.endpoints import Endpoints
from worker.store.sealing import Seal

MODULES = {"hl7": "tests.faults.frail_listener", "courier": "tests.faults.frail_courier"}
SERIES = 3
#: both are told: the laboratory's system the result, the webhook that there is one
RULES = """
version: 1
protocols:
  stain-check:
    version: 1
    questions: [{name: stain, question: "Which stain is shown?"}]
rules:
  - {name: every-slide, ask: stain-check, mode: live, tell: [laboratory, lis]}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True, kw_only=True)
class Laboratory(Ward):
    #: makes the server that results go to
    system: Callable[[int], Server] = Moody
    hl7_port: int = field(default_factory=_free_port)
    server: Server = field(init=False)
    senders: Senders = field(init=False)

    @contextmanager
    def open(self, *ways: Way) -> Iterator[Laboratory]:
        self.server = self.system(_free_port())
        (self.folder / "seal-keys").write_text(Seal.new_key())
        (self.folder / "rules.yaml").write_text(RULES)
        with running(self.server), Ward.open(self, *ways):
            Endpoints(self.database).add("laboratory", f"mllp://127.0.0.1:{self.server.port}", secret=SECRET)
            self.senders = Senders(port=self.hl7_port, orders=Orders(series=self._archive()), may_send=bool)
            self._start("hl7", MODULES["hl7"])
            self.until(self.listens, 120)
            yield self

    def _archive(self) -> tuple[str, ...]:
        """Puts DICOM series into the store, as `pathlane archive add` does; gives their ids."""
        pictures = self.folder / "pictures"
        pictures.mkdir()
        files = [cases._dicom(pictures, Image.new("RGB", (28, 28), "pink")) for _ in range(SERIES)]
        pathlane = str(Path(sys.executable).with_name("pathlane"))
        told = subprocess.run(
            [pathlane, "archive", "add", *map(str, files)], cwd=ROOT, env=self.environment(), check=True,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return tuple(line.split()[-1] for line in told.stdout.splitlines())

    @contextmanager
    def load(self, *, live: int = 24) -> Iterator[None]:
        """Orders keep coming while the block lasts; at most `live` at once have not been answered."""
        self.senders.may_send = lambda: self.senders.orders.number - self.answered() < live
        self.senders.start()
        try:
            yield
        finally:
            self.senders.stop()

    def answered(self) -> int:
        """Results that the laboratory's system has, each counted once."""
        return len({raw.split(b"|", 10)[9] for raw in self.server.received})

    def settle(self, seconds: float = 45) -> None:
        """Also until the server's last line has been read; then it is known which jobs were accepted."""
        Ward.settle(self, seconds)
        delivered = (
            "SELECT d.id FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id WHERE e.url LIKE 'mllp%'"
        )
        told = {row[0][-CONTROL_ID_LENGTH:] for row in self.query(f"{delivered} AND d.status = 'delivered'")}
        with suppress(AssertionError):
            self.until(lambda: self.answered() >= len(told), 5)
        self.accepted.extend(jobs_of(snapshot(self.url), self.exchange()))

    def exchange(self) -> Exchange:
        return Exchange(sent=tuple(self.senders.sent), received=tuple(self.server.received))

    def judged(self) -> Verdict:
        return check(
            self.url, (), self.receiver.received, holders=self.holders(), cap=self.slots,
            exchange=self.exchange(),
        )  # fmt: skip

    def part(self, name: str) -> Part:
        """Once there is one: who was killed is started again in a moment."""
        self.until(lambda: any(part.name == name for part in self.parts), 10)
        return next(part for part in self.parts if part.name == name)

    def server_away(self, seconds: float) -> None:
        self._event(None, time.time())
        away(self.server, seconds)

    def listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.hl7_port), 1):
            return True
        return False

    def _start(self, name: str, module: str) -> None:
        Ward._start(self, name, MODULES.get(name, module))

    def environment(self) -> dict[str, str]:
        own = {
            "HL7_HOST": "127.0.0.1", "HL7_PORT": self.hl7_port, "RULES": self.folder / "rules.yaml",
            "SEAL_KEYS_FILE": self.folder / "seal-keys", "LIS_HOSTS": "127.0.0.0/8",
        }  # fmt: skip
        return Ward.environment(self) | {f"PATHLANE_{name}": str(value) for name, value in own.items()}
