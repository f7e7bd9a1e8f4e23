"""The real programs, started as a user starts them, with the bundled demonstration model."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from integrations.view import job_document
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.presence import Workers
from worker.store.session import Database

PATHLANE = [str(Path(sys.executable).with_name("pathlane"))]
QUESTION = ["--question", "Which stain is shown?"]
OPTIONS = [
    part
    for option in ("Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue")
    for part in ("--option", option)
]


def pytest_collection_modifyitems(items):
    """Programs start and die here: a slow machine gets its time."""
    for item in items:
        if "acceptance" in item.path.parts:
            item.add_marker(pytest.mark.timeout(600))


class Up:
    """`pathlane up`, running in its own folder."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.data = folder / "data"
        self._arguments = arguments
        self._log = folder / "up.log"
        self._environment = os.environ | {f"PATHLANE_{k}": v for k, v in settings.items()}
        self._process: subprocess.Popen | None = None

    def start(self) -> Up:
        arguments = [*PATHLANE, "up", "--data", str(self.data), "--port", "0", *self._arguments]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log, env=self._environment)
        self.until(lambda: "Ctrl-C stops it" in self.log() or self._process.poll() is not None)
        assert self._process.poll() is None, self.log()
        return self

    @property
    def url(self) -> str:
        return next(line.split()[-1] for line in self.log().splitlines() if line.startswith("Pathlane is up"))

    @property
    def hl7(self) -> tuple[str, str]:
        line = next(line for line in self.log().splitlines() if line.startswith("HL7 orders at"))
        host, port = line.split()[-1].rsplit(":", 1)
        return host, port

    @property
    def key(self) -> str:
        return (self.data / "api-key").read_text()

    @property
    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, trust_env=False
        )

    def log(self) -> str:
        return self._log.read_text()

    def own_children(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children()

    def children(self) -> list[psutil.Process]:
        """With theirs: a worker has a child that decodes, once it has had an image."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGINT) -> int:
        self._process.send_signal(number)
        return self._process.wait(60)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop(signal.SIGTERM)

    def run(self, *arguments: str, status: int = 0) -> str:
        """A subcommand against this store; its standard output."""
        ended = subprocess.run(
            [*PATHLANE, *arguments, "--data", str(self.data)], capture_output=True, text=True, timeout=150
        )
        assert ended.returncode == status, ended.stdout + ended.stderr + self.log()
        return ended.stdout

    def run_up_again(self) -> str:
        again = [*PATHLANE, "up", "--data", str(self.data), "--port", "0"]
        return subprocess.run(again, capture_output=True, text=True, timeout=60).stderr

    def submit(self, image: Path, *arguments: str, options=OPTIONS) -> dict:
        return json.loads(self.run("submit", str(image), *QUESTION, *options, "--json", *arguments))

    def show(self, job_id: str) -> dict:
        """What `pathlane show ID --json` prints, without starting a program for every look."""
        with self._store() as database:
            jobs = Jobs(database)
            shown = job_document(jobs.get(job_id), jobs.reading(job_id), Outbox(database).of_job(job_id))
        return json.loads(json.dumps(shown))

    def _store(self):
        return closing(Database(f"sqlite:///{self.data.resolve()}/pathlane.db"))

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json"))

    def status(self) -> dict:
        return self.json("status")

    def pids(self) -> list[int]:
        """Of the workers that are alive, as `pathlane status` lists them."""
        with self._store() as database:
            alive = Workers(database).alive(within_seconds=60)
        return [worker.pid for worker in alive if psutil.pid_exists(worker.pid)]

    def until(self, condition, seconds: float = 150) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log()
            time.sleep(0.2)


@pytest.fixture(scope="session")
def up():
    """One stack for the tests that only use it."""
    with tempfile.TemporaryDirectory(prefix="pathlane-", ignore_cleanup_errors=True) as folder:
        stack = Up(Path(folder))
        try:
            yield stack.start()
        finally:
            stack.kill()


@pytest.fixture
def own_up(tmp_path):
    """Stacks of this test's own, which it may harm."""
    with started_in(tmp_path) as start:
        yield start


@contextmanager
def started_in(folder: Path):
    """Starts stacks, each in a folder of its own, and stops them at the end."""
    started = []

    def start(*arguments, **settings):
        own = folder / str(len(started))
        own.mkdir()
        started.append(Up(own, *arguments, **settings))
        return started[-1].start()

    try:
        yield start
    finally:
        for stack in started:
            stack.kill()


@pytest.fixture(scope="session")
def ihc() -> Image.Image:
    """scikit-image's photograph: colonic glands, DAB."""
    skimage_data = pytest.importorskip("skimage.data")
    return Image.fromarray(skimage_data.immunohistochemistry())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
