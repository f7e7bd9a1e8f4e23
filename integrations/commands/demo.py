"""For whoever wants to see it: the demonstration."""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from integrations import stack
from integrations.commands.place import EX_CONFIG, json_option, leave, open_place, print_json, tells_errors
from integrations.valkey import NoServer
from integrations.webhooks.signing import Secret
from worker import log

if TYPE_CHECKING:
    from integrations.demo.show import Row


@click.command()
@json_option
@tells_errors
def demo(*, as_json: bool) -> None:
    """Real and drawn pictures through everything, on this machine; takes a minute.

    Exit status 0 only if every job succeeded and every webhook arrived and verified.
    """
    log.configure("demo", "error")
    try:
        with tempfile.TemporaryDirectory(prefix="pathlane-demo-", ignore_cleanup_errors=True) as folder:
            rows = _run(Path(folder), Console(stderr=True))
    except ImportError as error:
        leave(f"the extras `worker` and `demo` are needed: {error.name} is missing", EX_CONFIG)
    except (stack.NotReady, NoServer) as error:
        leave(str(error), EX_CONFIG)
    if as_json:
        print_json([_document(row) for row in rows])
    else:
        _print_table(rows)
    sys.exit(0 if all(row.is_told for row in rows) else 1)


def _run(data: Path, console: Console) -> Sequence[Row]:
    from integrations.demo import cases, receiver, show  # noqa: PLC0415  # pydicom and others: an extra

    made = cases.make(show.make_folder(data))
    listener = receiver.Receiver()
    try:
        starting = console.status("starting broker, database, worker and API")
        with starting, stack.running(data, output=data / "log") as up:
            starting.stop()
            listener.start(_subscribe(data, listener.url))
            with _progress(console) as progress:
                task = progress.add_task("webhooks", total=len(made))
                return show.run(up, made, listener, lambda told: progress.update(task, completed=told))
    except stack.NotReady:
        click.echo((data / "log").read_text(), err=True)
        raise
    finally:
        listener.stop()


def _subscribe(data: Path, url: str) -> str:
    secret = Secret.new(secrets.token_bytes).text
    place = open_place(data)
    place.endpoints.add("demo", url, secret=secret, actor=place.actor)
    place.database.close()
    return secret


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _print_table(rows: Sequence[Row]) -> None:
    table = Table(title="Pathlane demonstration: not a medical statement", show_lines=True)
    for name in ("case", "priority", "question", "reasoning", "answer", "seconds", "webhook"):
        table.add_column(name, overflow="fold")
    for row in rows:
        reading = row.job["reading"] or {}
        mark = "[green]✓[/]" if row.is_right else "[red]✗[/]"
        table.add_row(
            f"{row.case.name} ({row.case.style})", row.case.priority.value, _question(row),
            reading.get("reasoning", ""), f"{mark} {row.answer}", f"{_seconds(row):.1f}",
            "verified" if row.webhook else "[red]missing[/]",
        )  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    right = sum(row.is_right for row in rows)
    told = sum(row.is_told for row in rows)
    console.print(f"{len(rows)} cases: {right} answered right, {told} webhooks arrived and verified.")


def _question(row: Row) -> str:
    lettered = [f"{letter}. {option}" for letter, option in zip("ABCD", row.case.options, strict=False)]
    return " ".join([row.job["question"], *lettered])


def _seconds(row: Row) -> float:
    created, finished = (datetime.fromisoformat(row.job[name]) for name in ("created_at", "finished_at"))
    return (finished - created).total_seconds()


def _document(row: Row) -> dict[str, object]:
    return {
        "case": row.case.name,
        "truth": row.case.truth,
        "right": row.is_right,
        "webhook": row.webhook,
        "job": row.job,
    }
