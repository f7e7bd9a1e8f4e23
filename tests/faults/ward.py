"""A ward: every part of an installation as a process of its own, where it can be hurt and watched.

In: an empty database, a folder, and what the parts are told. Out: a running broker, workers, courier and
receiver; faults that can be done to them; and at the end the checker's verdict. Workers that die are started
again at once, as a supervisor would.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import redis
from kombu import pools
from PIL import Image
from sqlalchemy import text

from integrations import valkey
from tests.bell import hang_up
from tests.faults.invariants import Holder, Verdict, check
from tests.faults.records import Event, holders, recoveries
from tests.integration.webhooks.receiver import Receiver, Way, status
from worker import uploads
from worker.app import READ, READ_QUEUE, connect, ring
from worker.errors import StoreUnavailable
from worker.jobs.request import JobRequest, parse_request
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.schema import migrate
from worker.store.session import Database

ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LIVE = "('queued', 'running')"
#: what ends the time in which a job is in nobody's hands
BACK = "('returned', 'released', 'finished', 'failed', 'cancelled')"
COURIER = "tests.faults.quick_courier"
#: deliveries that somebody is going to make
UNDERWAY = "status = 'pending' AND endpoint_id IN (SELECT id FROM endpoints WHERE status = 'active')"


@dataclass(slots=True)
class Part:
    name: str
    process: subprocess.Popen
    #: ended on purpose: not started again
    dismissed: bool = False


@dataclass(slots=True, kw_only=True)
class Ward:
    url: str
    folder: Path
    workers: int = 2
    slots: int = 4
    lease: float = 1.5
    #: one step of the model, in seconds
    step: float = 0.5
    faults: dict[str, str] = field(default_factory=dict)
    #: PATHLANE_* that differ from those below
    settings: dict[str, object] = field(default_factory=dict)
    #: how far the clock of each worker is off, in seconds
    clocks: tuple[int, ...] = ()
    module: str = "tests.faults.quick_worker"
    #: whether that program says that it is there
    reports: bool = True
    #: how the database is crashed, where that can be done
    crash: Callable[[], None] | None = None
    accepted: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    #: exit statuses of workers that were asked to end
    exits: list[int] = field(default_factory=list)
    #: pid -> when it was dead, on the scale of time.monotonic
    deaths: dict[int, float] = field(default_factory=dict)
    receiver: Receiver = field(default_factory=Receiver)
    #: further receivers; a storm opens and closes them
    others: list[Receiver] = field(default_factory=list)
    #: what a storm itself found wrong, and what it measured
    problems: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    database: Database = field(init=False)
    broker: subprocess.Popen = field(init=False)

    @contextmanager
    def open(self, *ways: Way) -> Iterator[Ward]:
        """Everything runs inside; the receiver answers by `ways`, with 204 where none is given."""
        self.database = Database(self.url)
        migrate(self.database)
        self.receiver.will(*(ways or (status(204),)))
        watch = threading.Thread(target=self._watch, daemon=True)
        with self.receiver.listening():
            Endpoints(self.database).add("lis", self.receiver.url(), secret=SECRET)
            self.start_broker()
            connect(self.broker_url)
            try:
                self._start("courier", COURIER)
                for number in range(self.workers):
                    self._start(f"worker{number}", self.module)
                watch.start()
                self.until(lambda: not self.reports or self.count("workers") >= self.workers, 120)
                yield self
            finally:
                self.close(watch)

    def close(self, watch: threading.Thread) -> None:
        self.closing.set()
        if watch.is_alive():
            watch.join()
        for process in (*(part.process for part in self.parts), self.broker):
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        hang_up()
        pools.reset()
        self.database.close()

    # what is asked

    def request(self, **fields: object) -> JobRequest:
        image = {"reference": self.image()}
        body = {"images": [image], "question": "Which stain is shown?", "idempotency_key": uuid.uuid4().hex}
        return parse_request(body | fields)

    def image(self) -> str:
        picture = io.BytesIO()
        Image.new("RGB", (28, 28), "pink").save(picture, "PNG")
        return uploads.keep(self.folder / "uploads", [picture.getvalue()], max_bytes=10_000)

    def submit(self, request: JobRequest) -> str:
        """Until it is accepted: who gets no answer asks again under the same key."""
        jobs = Jobs(self.database)
        while True:
            try:
                job_id = jobs.submit(request, submitter="storm").job.id
            except StoreUnavailable:
                time.sleep(0.1)
            else:
                break
        with self.lock:
            self.accepted.append(job_id)
        ring(READ, queue=READ_QUEUE)
        return job_id

    @contextmanager
    def load(self, *, live: int = 24, **fields: object) -> Iterator[None]:
        """Jobs keep coming while the block lasts; at most `live` at once have not ended."""
        stopped = threading.Event()
        reference = self.request().images[0].reference

        def feed() -> None:
            while not stopped.is_set():
                for _ in range(live - self.live()):
                    self.submit(self.request(images=[{"reference": reference}], **fields))
                    if stopped.is_set():
                        return
                stopped.wait(0.02)

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            yield
        finally:
            stopped.set()
            feeder.join()

    @contextmanager
    def undying(self) -> Iterator[None]:
        """A worker that its surroundings end has lost its model, which may take minutes to load."""
        before = [part.process.pid for part in self.parts]
        yield
        if [part.process.pid for part in self.parts] != before:
            self.problems.append("a process ended that nobody had touched")

    # what is seen

    def query(self, sql: str, **values: object) -> list[tuple]:
        """A database that is away is asked again: no storm takes it away for longer than this."""
        end = time.monotonic() + 150
        while True:
            try:
                with self.database.read() as connection:
                    return [tuple(row) for row in connection.execute(text(sql), values)]
            except StoreUnavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def now(self) -> object:
        """By the database's clock, as it stands in its tables."""
        clock = (
            "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
            if self.database.is_sqlite
            else "clock_timestamp()"
        )
        return self.query(f"SELECT {clock}")[0][0]

    def count(self, table: str, where: str = "1 = 1") -> int:
        return self.query(f"SELECT count(*) FROM {table} WHERE {where}")[0][0]

    def live(self) -> int:
        return self.count("jobs", f"status IN {LIVE}")

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it did not happen in {seconds} s\n{self.said()[-3000:]}"
            time.sleep(0.05)

    def settle(self, seconds: float = 45) -> None:
        """Until every job has ended and every delivery has arrived."""
        self.until(lambda: self.live() == 0, seconds)
        self.until(lambda: self.count("deliveries", UNDERWAY) == 0, seconds)

    def said(self, word: str = "") -> str:
        """The lines of all parts that have this word."""
        lines = [line for log in self.folder.glob("*.log") for line in log.read_text().splitlines()]
        return "\n".join(line for line in lines if word in line)

    def recoveries(self) -> list[float]:
        back = defaultdict(list)
        for job_id, at in self.query(
            f"SELECT job_id, {self._seconds('at')} FROM audit WHERE action IN {BACK}"
        ):
            back[job_id].append(float(at))
        ended = f"SELECT id, {self._seconds('finished_at')} FROM jobs WHERE finished_at IS NOT NULL"
        return recoveries(self.events, back, {job_id: float(at) for job_id, at in self.query(ended)})

    def _seconds(self, column: str) -> str:
        """SQL: seconds since 1970."""
        if self.database.is_sqlite:
            return f"julianday({column}) * 86400.0 - 210866760000.0"
        return f"extract(epoch FROM {column})"

    def verdict(self) -> Verdict:
        found = self.judged()
        return replace(found, problems=(*found.problems, *self.problems))

    def judged(self) -> Verdict:
        received = [one for receiver in (self.receiver, *self.others) for one in receiver.received]
        return check(self.url, self.accepted, received, holders=self.holders(), cap=self.slots)

    def holders(self) -> list[Holder]:
        return holders((self.folder / "holders").read_text(), self.deaths)

    # what is done to it

    def worker(self, number: int) -> Part:
        return next(p for p in reversed(self.parts) if p.name == f"worker{number % self.workers}")

    def ready(self, number: int) -> Part:
        """That worker, once it has read something: it reports before it hears its first ring."""
        part = self.worker(number)
        mark = f"\n{part.process.pid} "
        self.until(lambda: mark in "\n" + (self.folder / "holders").read_text(), 60)
        return part

    def kill(self, part: Part) -> None:
        """SIGKILL. The watch sees the death, writes it down, and starts another."""
        self.deaths[part.process.pid] = time.monotonic()
        part.process.kill()
        self.until(lambda: part not in self.parts, 5)

    def pause(self, part: Part, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        part.process.send_signal(signal.SIGSTOP)
        self._event(part.process.pid, time.time())
        time.sleep(seconds)
        part.process.send_signal(signal.SIGCONT)

    def restart(self, part: Part, grace: float = 20) -> None:
        """SIGTERM; the exit status is kept, and another is started."""
        self._event(None, time.time())
        part.dismissed = True
        part.process.terminate()
        self.exits.append(part.process.wait(grace))
        self.parts.remove(part)
        self._start(part.name, self.module)

    @property
    def socket_path(self) -> Path:
        # The path of a socket may have 108 bytes, and the folders of tests are long.
        return Path(tempfile.gettempdir()) / f"ward-{os.getpid()}-{id(self):x}.sock"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.socket_path}"

    def start_broker(self) -> None:
        self.socket_path.unlink(missing_ok=True)
        self.broker = subprocess.Popen(valkey.command(self.folder / "valkey", self.socket_path))
        self.until(self.socket_path.exists, 10)

    def kill_broker(self, away: float = 0.3) -> None:
        self._event(None, time.time())
        self.broker.kill()
        self.broker.wait()
        time.sleep(away)
        self.start_broker()

    def flush_broker(self) -> None:
        self._event(None, time.time())
        with redis.Redis(unix_socket_path=str(self.socket_path)) as client:
            client.flushall()

    def pause_broker(self, seconds: float) -> None:
        self._event(None, time.time())
        self.broker.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.broker.send_signal(signal.SIGCONT)

    def crash_database(self) -> None:
        assert self.crash is not None
        self._event(None, time.time())
        self.crash()

    # how it is kept

    def _event(self, pid: int | None, at: float) -> None:
        """With the jobs that this process holds, or with all that have not ended."""
        held = f"status = 'running' AND worker_id LIKE '%-{pid}-%'" if pid else f"status IN {LIVE}"
        ids = tuple(row[0] for row in self.query(f"SELECT id FROM jobs WHERE {held}"))
        self.events.append(Event(at=at, jobs=ids, held=pid is not None))

    def _start(self, name: str, module: str) -> None:
        (self.folder / "holders").touch()
        command, environment = self._program(name, module)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.parts.append(Part(name, process))

    def _program(self, name: str, module: str) -> tuple[list[str], dict[str, str]]:
        """How a part is started: its command and its environment. A ward of several machines differs."""
        return [sys.executable, "-m", module], self.environment() | self._clock(name)

    def environment(self) -> dict[str, str]:
        given = {k: v for k, v in os.environ.items() if not k.startswith("PATHLANE_")}
        own = {
            "DATABASE_URL": self.url, "BROKER_URL": self.broker_url, "LEASE_SECONDS": self.lease,
            "SWEEP_SECONDS": 0.5, "SLOTS": self.slots, "SLOTS_DIR": self.folder / "slots",
            "UPLOADS_DIR": self.folder / "uploads", "WEBHOOK_HOSTS": "127.0.0.0/8",
            "WEBHOOK_PLAIN_HTTP": "true", "WEBHOOK_SECONDS": 2, "DEVICE": "cpu", "LOG_LEVEL": "warning",
        } | self.settings  # fmt: skip
        faults = {"SECONDS": self.step, "HOLDERS": self.folder / "holders"} | self.faults
        return (
            given
            | {f"PATHLANE_{name}": str(value) for name, value in own.items()}
            | {f"FAULT_{name}": str(value) for name, value in faults.items()}
        )

    def _clock(self, name: str) -> dict[str, str]:
        number = name.removeprefix("worker")
        off = self.clocks[int(number) % len(self.clocks)] if self.clocks and number.isdigit() else 0
        return {"FAULT_CLOCK": str(off)}

    def _watch(self) -> None:
        while not self.closing.wait(0.02):
            for part in list(self.parts):
                if part.dismissed or part.process.poll() is None:
                    continue
                dead = time.monotonic()
                pid = part.process.pid
                at = time.time() - (dead - self.deaths.setdefault(pid, dead))
                self._event(pid, at)
                self._start(part.name, COURIER if part.name == "courier" else self.module)
                self.parts.remove(part)
