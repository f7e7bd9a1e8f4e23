"""Everything on one machine: broker, database, worker and gateway, in one folder.

In: a data folder. Out: a running stack, until it is stopped. `pathlane up` and `pathlane demo` share it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from integrations import valkey
from integrations.console.links import new_link
from integrations.rules.reading import embedded_rules
from integrations.supervisor import Program, Supervisor, python
from worker.settings import embedded_environment, embedded_socket, read_settings
from worker.store import schema
from worker.store.keys import Keys
from worker.store.passes import Passes
from worker.store.presence import Workers
from worker.store.sealing import Seal
from worker.store.session import Database

#: a large model takes its time
READY_SECONDS = 900.0
#: how much longer than its own grace a worker gets: it gives back what is left, and its libraries end
LEAVE_SECONDS = 25.0
WORKER_SILENT_SECONDS = 60.0
#: name of the API key of an embedded store
KEY = "up"


class NotReady(RuntimeError):
    """A part did not start in time, or gave up; it has said why above."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class InUse(RuntimeError):
    """Another `pathlane up` is running in this folder."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    url: str
    api_key: str
    #: opens the console once, for ten minutes
    console: str
    #: host:port of the HL7 listener; empty without it
    hl7: str
    supervisor: Supervisor
    environment: Mapping[str, str]


@contextmanager
def running(
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    stopped: Callable[[], bool] = lambda: False,
    output: Path | None = None,
    hl7_port: int | None = None,
) -> Iterator[Stack]:
    """Start everything and stop it again. Raises NotReady (also once `stopped()`), InUse, NoServer.

    `output` is a file for what the parts print; without it they print on the terminal. With `hl7_port` a
    hospital's system can send orders there.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = _usable(host, port)
    environment = _environment(data, host, port)
    _keep(data / "seal-keys", Seal.new_key())
    if hl7_port is not None:
        hl7_port = _usable(host, hl7_port)
        environment |= {"PATHLANE_HL7_HOST": host, "PATHLANE_HL7_PORT": str(hl7_port)}
        _keep(data / "rules.yaml", embedded_rules())
    supervisor = Supervisor()
    lock = _lock(data)
    try:
        sock = embedded_socket(data)
        sock.unlink(missing_ok=True)
        start = partial(_start, supervisor, environment, output)
        start("broker", valkey.command(data / "valkey", sock))
        _wait(supervisor, sock.exists, stopped)
        api_key = _prepare(environment["PATHLANE_DATABASE_URL"], data)
        for name, module in GATEWAY:
            start(name, python(module))
        if hl7_port is not None:
            start("hl7", python("integrations.listen", "hl7"))
            if environment.get("PATHLANE_DICOM_CALLERS"):
                start("dicom", python("integrations.listen", "dicom"))
        start("worker", python("worker"), grace=worker_grace(read_settings().queue.grace_seconds))
        url = f"http://{host}:{port}"
        _wait(supervisor, lambda: _answers(f"{url}/readyz") and _has_worker(environment), stopped)
        if hl7_port is not None:
            _wait(supervisor, lambda: _listens(host, hl7_port), stopped)
        (data / "address").write_text(url)
        yield Stack(
            url=url, api_key=api_key, console=_console(environment["PATHLANE_DATABASE_URL"], api_key, url),
            hl7=f"{host}:{hl7_port}" if hl7_port is not None else "", supervisor=supervisor,
            environment=environment,
        )  # fmt: skip
    finally:
        supervisor.stop()
        os.close(lock)


def worker_grace(grace_seconds: float) -> float:
    """How long a supervisor waits for a worker: longer than the worker waits for its jobs, in seconds."""
    return grace_seconds + LEAVE_SECONDS


GATEWAY = (("web", "integrations.http_api"), ("courier", "integrations.courier"))


def _lock(data: Path) -> int:
    """Only one stack in a folder; the kernel lets go when its holder dies. Raises InUse."""
    lock = os.open(data / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise InUse from None
    return lock


def _environment(data: Path, host: str, port: int) -> dict[str, str]:
    own = {"PATHLANE_API_HOST": host, "PATHLANE_API_PORT": str(port)}
    public = {"PATHLANE_PUBLIC_URL": f"http://{host}:{port}"}
    return public | embedded_environment(data, os.environ) | own  # noqa: TID251  # for the children


def _start(
    supervisor: Supervisor,
    environment: Mapping[str, str],
    output: Path | None,
    name: str,
    command: list[str],
    *,
    grace: float = 30.0,
) -> None:
    stage = supervisor.count  # the last one started is ended first
    supervisor.start(
        Program(name=name, command=command, environment=environment, output=output, grace=grace, stage=stage)
    )


def _prepare(database_url: str, data: Path) -> str:
    """Migrate, and let in the key that lies in the folder, so that it survives a restart."""
    database = Database(database_url)
    schema.migrate(database)
    key = _keep(data / "api-key", f"pl_{secrets.token_urlsafe(32)}")
    Keys(database).add(KEY, key, actor="up")
    database.close()
    return key


def address(data: Path) -> str:
    """Of the stack that was last started in `data`; empty where none was."""
    with suppress(FileNotFoundError):
        return (data / "address").read_text()
    return ""


def _console(database_url: str, api_key: str, url: str) -> str:
    database = Database(database_url)
    key = Keys(database).shown(api_key)
    link = new_link(Passes(database), key.id, url, actor="up") if key is not None else ""
    database.close()
    return link


def _keep(file: Path, text: str) -> str:
    """What is in `file`: `text` from now on, unless something was there before."""
    with (
        suppress(FileExistsError),
        os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as new,
    ):
        new.write(text)
    return file.read_text()


def _usable(host: str, port: int) -> int:
    """`port` where it is free, else another one."""
    for wanted in (port, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, wanted))
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _listens(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=2):
        return True
    return False


def _has_worker(environment: Mapping[str, str]) -> bool:
    database = Database(environment["PATHLANE_DATABASE_URL"])
    alive = Workers(database).alive(within_seconds=WORKER_SILENT_SECONDS)
    database.close()
    return bool(alive)


def _wait(supervisor: Supervisor, ready: Callable[[], bool], stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + READY_SECONDS
    supervisor.watch(until=lambda: ready() or stopped() or time.monotonic() > end)
    if supervisor.given_up is not None or not ready():
        raise NotReady
