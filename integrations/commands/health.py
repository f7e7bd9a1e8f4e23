"""For whoever looks: status, doctor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from integrations.commands.place import (
    data_option,
    json_option,
    open_place,
    print_json,
    settings_for,
    tells_errors,
)
from integrations.supervisor import python
from integrations.view import instant
from worker.errors import BrokerUnavailable
from worker.store import schema
from worker.store.presence import Presence
from worker.store.sealing import seal_of
from worker.store.session import Database
from worker.uploads import check_room


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
    from integrations.taking import rules_of  # noqa: PLC0415  the same
    from worker.app import check_broker, connect  # noqa: PLC0415  Celery: only the doctor needs it

    connect(settings.queue.broker_url.get_secret_value())
    checks = {
        "database": _said(lambda: schema.check(Database(settings.store.database_url.get_secret_value()))),
        "broker": _said(check_broker),
        "model": _model_check(),
        "uploads": _writable(settings.imaging.uploads_dir),
        "disk": _said(
            lambda: check_room(settings.imaging.uploads_dir, settings.imaging.uploads_reserve_bytes)
        ),
        "slots": _writable(settings.model.slots_dir),
    }
    if settings.lis.rules is not None and settings.lis.rules.exists():
        checks["rules"] = _said(lambda: rules_of(settings))
        checks["seal keys"] = _said(lambda: seal_of(settings))
    if as_json:
        print_json({name: {"ok": not text, "text": text or "ok"} for name, text in checks.items()})
    else:
        for name, text in checks.items():
            click.echo(f"{'ok     ' if not text else 'MISSING'}  {name:<9} {text}")
    sys.exit(1 if any(checks.values()) else 0)


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


def _model_check() -> str:
    asked = subprocess.run(python("worker", "check"), capture_output=True, text=True, check=False)  # noqa: S603
    try:
        answer = json.loads(asked.stdout)
    except json.JSONDecodeError:
        return "The extra `worker` is not installed here: no model can be run on this machine."
    return "" if answer["ok"] else str(answer["text"])


def _said(check: Callable[[], object]) -> str:
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
