"""Whole: the same cases through an installation: store, broker, worker, courier, and somebody who is told.

In: a database, slots, cases. Out: a text and seconds for each, and the CPU time of each part. Every part is a process
of its own with the product's defaults; the receiver listens in this one. Pictures were uploaded before. The clock
runs from the first submission (or, with a backlog, from the first ring) until the receiver has heard of every case.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select

from integrations import valkey
from tests.bell import hang_up
from tests.benchmarks.loops import Texts
from tests.benchmarks.workload import Case
from tests.faults.cluster import postgresql
from tests.faults.ward import SECRET
from tests.integration.webhooks.receiver import Receiver, status
from worker import uploads
from worker.app import connect, ring_readers
from worker.jobs.audit import Action
from worker.jobs.request import JobRequest, parse_request
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs, jobs
from worker.store.presence import Workers
from worker.store.readings import readings
from worker.store.schema import migrate
from worker.store.session import Database
from worker.store.tables import AuditRow

ROOT = Path(__file__).parents[2]
DATABASES = ("postgresql", "sqlite")
READY_SECONDS, READ_SECONDS = 600, 1800
#: how often the worker notes what it has done
NOTED_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU seconds."""

    #: of the process that has the model
    worker: float
    others: float = 0.0
    #: of them, the worker's: of the threads that claim, open, prepare and finish
    stages: Mapping[str, float] = field(default_factory=dict)

    def since(self, before: Cost) -> Cost:
        return Cost(
            worker=self.worker - before.worker,
            others=self.others - before.others,
            stages={stage: spent - before.stages.get(stage, 0.0) for stage, spent in self.stages.items()},
        )


@contextmanager
def database_of(kind: str) -> Iterator[tuple[str, list[int]]]:
    """The URL of an empty database, and the processes that serve it."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield f"sqlite:///{folder}/pathlane.db", []
        return
    with postgresql() as cluster:
        yield cluster.new(), [int((cluster.server.pgdata / "postmaster.pid").read_text().split()[0])]


class Whole:
    """One installation with one worker. Use as `with Whole(...).open()`."""

    def __init__(
        self, kind: str, slots: int, device: str, model: tuple[str, str], pace: Sequence[float] = ()
    ) -> None:
        self._pace = pace
        self._kind, self._slots, self._device, self._model = kind, slots, device, model
        self._receiver = Receiver()
        self._receiver.will(status(204))
        self._processes: dict[str, psutil.Popen] = {}
        self._served_by: list[int] = []

    @contextmanager
    def open(self, asked: Sequence[Case]) -> Iterator[Whole]:
        """`asked`: all that it will ever be asked."""
        with ExitStack() as opened:
            self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self._url, self._served_by = opened.enter_context(database_of(self._kind))
            self._database = Database(self._url)
            opened.callback(self._database.close)
            migrate(self._database)
            opened.enter_context(self._receiver.listening())
            Endpoints(self._database).add("lis", self._receiver.url(), secret=SECRET)
            opened.callback(self._end)
            self._start(asked)
            yield self

    def read(
        self, asked: Sequence[Case], on_case: Callable[[int], object], *, backlog: bool
    ) -> tuple[Texts, Cost, float]:
        requests = [self._request(case) for case in asked]
        store, told = Jobs(self._database), len(self._receiver.received)
        ids = self._submitted(store, requests) if backlog else []
        steps, before, began = self._notes()["steps"], self._cost(), time.perf_counter()
        if backlog:
            ring_readers([len(ids)])
        else:
            ids = [self._asked(store, request) for request in requests]
        self._until_told(told, len(asked), on_case)
        seconds, after = time.perf_counter() - began, self._cost()
        texts, latencies = self._found(ids)
        steps = self._notes()["steps"] - steps
        return Texts(texts=texts, latencies=latencies, steps=steps), after.since(before), seconds

    def _submitted(self, store: Jobs, requests: Sequence[JobRequest]) -> list[str]:
        return [store.submit(request, submitter="bench").job.id for request in requests]

    def _asked(self, store: Jobs, request: JobRequest) -> str:
        job_id = store.submit(request, submitter="bench").job.id
        ring_readers([1])
        return job_id

    def _request(self, case: Case) -> JobRequest:
        file = io.BytesIO()
        case.picture.save(file, "PNG")
        reference = uploads.keep(self._folder / "uploads", [file.getvalue()], max_bytes=10_000_000)
        body = {
            "images": [{"reference": reference}],
            "question": case.question,
            "options": list(case.options),
        }
        return parse_request(body)

    def _until_told(self, before: int, count: int, on_case: Callable[[int], object]) -> None:
        end, seen = time.monotonic() + READ_SECONDS, 0
        while seen < count:
            time.sleep(0.005)
            now = len(self._receiver.received) - before
            on_case(now - seen)
            seen = now
            if time.monotonic() > end:
                raise TimeoutError(self._said())

    def _found(self, ids: Sequence[str]) -> tuple[list[str], list[float]]:
        """By the database's own clock, from the claim to the end."""
        audit = AuditRow.__table__
        query = (
            select(jobs.c.id, readings.c.raw_text, audit.c.at, jobs.c.finished_at)
            .join(readings, readings.c.job_id == jobs.c.id)
            .join(audit, audit.c.job_id == jobs.c.id)
            .where(audit.c.action == Action.CLAIMED)
        )
        with self._database.read() as connection:
            rows = {row[0]: row[1:] for row in connection.execute(query)}
        found = [rows[job_id] for job_id in ids]
        return [text for text, _, _ in found], [(end - at).total_seconds() for _, at, end in found]

    def _start(self, asked: Sequence[Case]) -> None:
        lengths = {case.question: case.tokens for case in asked}
        (self._folder / "lengths").write_text(json.dumps(lengths))
        socket = self._folder / "valkey.sock"
        connect(f"redis+socket://{socket}")
        self._run("broker", *valkey.command(self._folder / "valkey", socket))
        self._until(socket.exists)
        self._run("courier", sys.executable, "-m", "integrations.courier")
        self._run("worker", sys.executable, "-m", "tests.benchmarks.forced_worker")
        self._until(
            lambda: Workers(self._database).alive(within_seconds=60) and (self._folder / "notes").exists()
        )

    def _run(self, name: str, *command: str) -> None:
        # In a session of its own: Ctrl-C is for this program, which ends its parts itself.
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = psutil.Popen(
                command, cwd=ROOT, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith("PATHLANE_")}
        model, license_accepted = self._model
        own = {
            "DATABASE_URL": self._url, "BROKER_URL": f"redis+socket://{self._folder / 'valkey.sock'}",
            "SLOTS": self._slots, "SLOTS_DIR": self._folder / "slots", "UPLOADS_DIR": self._folder / "uploads",
            "MODEL": model, "MODEL_LICENSE": license_accepted, "DEVICE": self._device,
            "WEBHOOK_HOSTS": "127.0.0.0/8", "WEBHOOK_PLAIN_HTTP": "true",
        }  # fmt: skip
        files = {"BENCH_LENGTHS": self._folder / "lengths", "BENCH_NOTES": self._folder / "notes"}
        pace = {"BENCH_PACE": " ".join(map(str, self._pace))}
        settings = {f"PATHLANE_{name}": value for name, value in own.items()} | files | pace
        return given | {name: str(value) for name, value in settings.items()}

    def _until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + READY_SECONDS
        while not condition():
            if time.monotonic() > end or any(part.poll() is not None for part in self._processes.values()):
                raise RuntimeError(self._said())
            time.sleep(0.05)

    def _notes(self) -> dict[str, Any]:
        time.sleep(3 * NOTED_SECONDS)
        notes: dict[str, Any] = json.loads((self._folder / "notes").read_text())
        return notes

    def _cost(self) -> Cost:
        stages = self._notes()["stages"]
        served = [process for pid in self._served_by for process in _family(pid)]
        others = [*(part for name, part in self._processes.items() if name != "worker"), *served]
        others += self._processes["worker"].children(recursive=True)
        return Cost(
            worker=_cpu(self._processes["worker"]),
            others=sum(map(_cpu, others)) + time.process_time(),
            stages=stages,
        )

    def _said(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))

    def _end(self) -> None:
        for process in self._processes.values():
            with suppress(psutil.NoSuchProcess):  # it may have ended by itself
                process.kill()
            process.wait()
        hang_up()


def _family(pid: int) -> list[psutil.Process]:
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system
