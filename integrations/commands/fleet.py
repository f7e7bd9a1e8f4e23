"""For whoever runs it: up, worker, gateway, listen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click

from integrations import stack
from integrations.commands.place import (
    EX_CONFIG,
    data_option,
    leave,
    settings_for,
    tells_errors,
)
from integrations.supervisor import Program, Supervisor, python
from integrations.valkey import NoServer
from worker import log

DEFAULT_DATA = Path(".pathlane")
SAME_REQUEST_SECONDS = 2.0


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DATA, show_default=True
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, help="Another one is taken if this is in use.")
@click.option("--lis", is_flag=True, help="Take orders over HL7 too, by the rules in DIR/rules.yaml.")
@click.option("--hl7-port", default=2575, show_default=True, help="Another one is taken if this is in use.")
@tells_errors
def up(*, data: Path, host: str, port: int, lis: bool, hl7_port: int) -> None:
    """Broker, database, worker and API on this machine, until Ctrl-C.

    \b
    pathlane up                       in .pathlane, with the demo model
    pathlane up --data /srv/lab       another folder
    pathlane up --lis                 an HL7 listener beside the API
    PATHLANE_MODEL=/models/Patho-R1-3B PATHLANE_MODEL_LICENSE=CC-BY-NC-ND-4.0 pathlane up
    """
    settings = settings_for(data)
    log.configure("up", settings.log_level)
    stopped = _on_signals()
    try:
        with stack.running(
            data.resolve(), host=host, port=port, stopped=stopped, hl7_port=hl7_port if lis else None
        ) as running:
            orders = f"\nHL7 orders at {running.hl7}" if running.hl7 else ""
            click.echo(
                f"Pathlane is up at {running.url}\n"
                f"Console: {running.console}\n"
                f"  (opens once, within ten minutes; another: pathlane console --data {data})\n"
                f"API key: {running.api_key}{orders}\nCtrl-C stops it."
            )
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
    grace = stack.worker_grace(settings.queue.grace_seconds)
    _supervise([(f"worker {name}", python("worker", "--device", name)) for name in names], grace=grace)


@click.command()
@click.argument("channel", type=click.Choice(["hl7", "dicom", "fhir"]))
@data_option
@tells_errors
def listen(channel: str, *, data: Path | None) -> None:
    """Take a hospital's orders in, until SIGTERM.

    \b
    pathlane listen hl7       MLLP: orders by the site's rules, AA after the commit
    pathlane listen dicom     C-STORE: a series that has come to rest is an order
    pathlane listen fhir      asks a FHIR server what has changed
    """
    settings = settings_for(data)
    log.configure("listener-supervisor", settings.log_level)
    _supervise([(channel, python("integrations.listen", channel))])


@click.command()
@data_option
@tells_errors
def gateway(data: Path | None) -> None:
    """The API and the courier, until SIGTERM. It needs no torch."""
    settings = settings_for(data)
    log.configure("gateway-supervisor", settings.log_level)
    _supervise([(name, python(module)) for name, module in stack.GATEWAY])


def _supervise(programs: list[tuple[str, list[str]]], *, grace: float = 30.0) -> None:
    supervisor = Supervisor()
    stopped = _on_signals()
    environment = {**os.environ}  # noqa: TID251  # for the children
    try:
        for name, command in programs:
            supervisor.start(Program(name=name, command=command, environment=environment, grace=grace))
        supervisor.watch(until=stopped)
    finally:
        supervisor.stop()
    sys.exit(supervisor.given_up or 0)


def _on_signals() -> Callable[[], bool]:
    """From now on SIGTERM and SIGINT are only noted; a second one interrupts at once."""
    noted: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        # One that follows at once is the same request: a terminal and a service manager tell whole groups.
        if noted and time.monotonic() - noted[0] > SAME_REQUEST_SECONDS:
            signal.default_int_handler(number, frame)
        noted.append(time.monotonic())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return lambda: bool(noted)


def _visible_devices() -> list[str]:
    """`cuda:0`, `cuda:1` ... or `cpu`: asked of a program that may import torch."""
    asked = subprocess.run(python("worker", "devices"), capture_output=True, text=True, check=False)  # noqa: S603
    names: list[str] = json.loads(asked.stdout) if asked.returncode == 0 else []
    return names or ["cpu"]
