"""For whoever runs it: up, worker, gateway, status."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from integrations import stack
from integrations.commands.place import (
    EX_CONFIG,
    data_option,
    json_option,
    leave,
    open_place,
    print_json,
    settings_for,
    tells_errors,
)
from integrations.supervisor import Program, Supervisor, python
from integrations.valkey import NoServer
from integrations.view import instant
from worker import log
from worker.app import check_broker, connect
from worker.errors import BrokerUnavailable
from worker.store import schema
from worker.store.presence import Presence
from worker.store.session import Database

DEFAULT_DATA = Path(".pathlane")


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DATA, show_default=True
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, help="Another one is taken if this is in use.")
@tells_errors
def up(data: Path, host: str, port: int) -> None:
    """Broker, database, worker and API on this machine, until Ctrl-C.

    \b
    pathlane up                       in .pathlane, with the demo model
    pathlane up --data /srv/lab       another folder
    PATHLANE_MODEL=/models/Patho-R1-3B PATHLANE_MODEL_LICENSE=CC-BY-NC-ND-4.0 pathlane up
    """
    settings = settings_for(data)
    log.configure("up", settings.log_level)
    stopped = _on_signals()
    try:
        with stack.running(data.resolve(), host=host, port=port, stopped=stopped) as running:
            click.echo(f"Pathlane is up at {running.url}\nAPI key: {running.api_key}\nCtrl-C stops it.")
            running.supervisor.watch(until=stopped)
            given_up = running.supervisor.given_up
    except (stack.NotReady, stack.InUse, NoServer) as error:
        if stopped():
            return
        leave(str(error), EX_CONFIG)
    except KeyboardInterrupt:
        return
    if given_up is not None:
        leave("a part cannot run with these settings; it has said why above", given_up)


@click.command()
@data_option
@tells_errors
def worker(data: Path | None) -> None:
    """One process per GPU (or one on the CPU), started again when it dies, until SIGTERM.

    \b
    PATHLANE_DATABASE_URL=postgresql+psycopg://... PATHLANE_BROKER_URL=redis://... pathlane worker
    """
    settings = settings_for(data)
    log.configure("worker-supervisor", settings.log_level)
    names = [settings.model.device] if settings.model.device != "auto" else _visible_devices()
    _supervise([(f"worker {name}", python("worker", "--device", name)) for name in names])


@click.command()
@data_option
@tells_errors
def gateway(data: Path | None) -> None:
    """The API and the courier, until SIGTERM. It needs no torch."""
    settings = settings_for(data)
    log.configure("gateway-supervisor", settings.log_level)
    _supervise([(name, python(module)) for name, module in stack.GATEWAY])


@click.command()
@json_option
@data_option
@tells_errors
def status(*, as_json: bool, data: Path | None) -> None:
    """Queue depth by priority, workers, deliveries.

    \b
    pathlane status --data .pathlane --json
    """
    place = open_place(data)
    silent = 2 * place.settings.store.lease_seconds
    workers = [
        asdict(worker) | {"started_at": instant(worker.started_at), "seen_at": instant(worker.seen_at)}
        for worker in place.workers.alive(within_seconds=silent)
        if not _has_died(worker)
    ]
    queue, deliveries = place.jobs.depth(), place.outbox.counts()
    if as_json:
        print_json({"queue": queue, "workers": workers, "deliveries": deliveries})
        return
    click.echo("queue       " + "  ".join(f"{name} {count}" for name, count in queue.items()))
    click.echo("deliveries  " + "  ".join(f"{name} {count}" for name, count in deliveries.items()))
    for one in workers:
        click.echo(f"worker      pid {one['pid']} on {one['host']}, {one['device']}, {one['model']}: "
                   f"{one['running']} of {one['slots']} slots")  # fmt: skip
    if not workers:
        click.echo("worker      none is running")


@click.command()
@json_option
@data_option
@tells_errors
def doctor(*, as_json: bool, data: Path | None) -> None:
    """What is missing, and what to do about it. Exit status 1 if anything is."""
    settings = settings_for(data)
    connect(settings.queue.broker_url.get_secret_value())
    checks = {
        "database": _said(lambda: schema.check(Database(settings.store.database_url.get_secret_value()))),
        "broker": _said(check_broker),
        "model": _model_check(),
        "uploads": _writable(settings.imaging.uploads_dir),
        "slots": _writable(settings.model.slots_dir),
    }
    if as_json:
        print_json({name: {"ok": not text, "text": text or "ok"} for name, text in checks.items()})
    else:
        for name, text in checks.items():
            click.echo(f"{'ok     ' if not text else 'MISSING'}  {name:<9} {text}")
    sys.exit(1 if any(checks.values()) else 0)


COMMANDS = (up, worker, gateway, status, doctor)


def _supervise(programs: list[tuple[str, list[str]]]) -> None:
    supervisor = Supervisor()
    stopped = _on_signals()
    environment = {**os.environ}  # noqa: TID251  # for the children
    try:
        for name, command in programs:
            supervisor.start(Program(name=name, command=command, environment=environment))
        supervisor.watch(until=stopped)
    finally:
        supervisor.stop()
    sys.exit(supervisor.given_up or 0)


def _has_died(worker: Presence) -> bool:
    """Whether it was on this machine and its process is gone: known at once, before its report is stale."""
    if worker.host != socket.gethostname():
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _on_signals() -> Callable[[], bool]:
    """From now on SIGTERM and SIGINT are only noted; a second SIGINT interrupts at once."""
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return lambda: bool(noted)


def _visible_devices() -> list[str]:
    """`cuda:0`, `cuda:1` ... or `cpu`: asked of a program that may import torch."""
    asked = subprocess.run(python("worker", "devices"), capture_output=True, text=True, check=False)  # noqa: S603
    names: list[str] = json.loads(asked.stdout) if asked.returncode == 0 else []
    return names or ["cpu"]


def _model_check() -> str:
    asked = subprocess.run(python("worker", "check"), capture_output=True, text=True, check=False)  # noqa: S603
    try:
        answer = json.loads(asked.stdout)
    except json.JSONDecodeError:
        return "The extra `worker` is not installed here: no model can be run on this machine."
    return "" if answer["ok"] else str(answer["text"])


def _said(check: Callable[[], None]) -> str:
    try:
        check()
    except (BrokerUnavailable, Exception) as error:  # noqa: BLE001
        return str(getattr(error, "public", type(error).__name__))
    return ""


def _writable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError:
        return "The folder cannot be written to: set its PATHLANE_*_DIR to one that can."
    return ""
