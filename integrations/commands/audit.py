"""For whoever must know who did what: audit verify, head, show, list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import click

from integrations.commands.place import (
    data_option,
    json_option,
    leave,
    open_place,
    print_json,
    tells_errors,
)
from integrations.view import instant
from worker.errors import NotFound
from worker.jobs.audit import Action, Entry, Head
from worker.store.verification import Report, verify


class _Anchor(click.ParamType[Head]):
    name = "SEQ:DIGEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        try:
            return value if isinstance(value, Head) else Head.parse(value)
        except ValueError:
            self.fail("give SEQ:DIGEST as `pathlane audit head` prints it", param, ctx)


@click.group()
def audit() -> None:
    """Who submitted, claimed, read, cancelled what: verify, head, show, list."""


@audit.command("verify")
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    type=_Anchor(),
    help="A head kept elsewhere; may be repeated.",
)
@json_option
@data_option
@tells_errors
def verify_command(*, anchors: tuple[Head, ...], as_json: bool, data: Path | None) -> None:
    """Look for rows that were changed or removed. Exit status 1 if there are any.

    An anchor is what `audit head` printed or a log line `audit.chained` said at some time, kept where nobody
    who can change the database can change it. Without one, a chain that was laid anew up to its end looks
    like any other.

    \b
    pathlane audit verify --data .pathlane
    pathlane audit verify --anchor 12000:9f2c... --anchor 57342:01ab... --json
    """
    database = open_place(data).database
    with _progress() as progress:
        found = verify(database, anchors=anchors, progress=progress)
    if as_json:
        print_json(_document(found))
    else:
        _print(found, anchors)
    sys.exit(1 if found.findings else 0)


@audit.command("head")
@data_option
@tells_errors
def head_command(*, data: Path | None) -> None:
    """The last row of the chain, as SEQ:DIGEST. Keep it somewhere else: it is an anchor.

    \b
    pathlane audit head --data .pathlane
    """
    head = open_place(data).audit.head()
    if head is None:
        leave("the head of the chain is gone", 1)
    click.echo(str(head))


@audit.command("show")
@click.argument("job_id", metavar="ID")
@json_option
@data_option
@tells_errors
def show_command(job_id: str, *, as_json: bool, data: Path | None) -> None:
    """Everything about one job, the oldest first.

    \b
    pathlane audit show job_01ARZ3NDEKTSV4RRFFQ69G5FAV --data .pathlane
    """
    entries = open_place(data).audit.of_job(job_id)
    if not entries:
        raise NotFound
    _print_entries(entries, as_json=as_json)


@audit.command("list")
@click.option("--since", default=24.0, show_default=True, metavar="HOURS", help="Of the last hours.")
@click.option("--action", "actions", multiple=True, type=click.Choice([a.value for a in Action]),
              metavar="WORD", help="Only these; may be repeated: read, 'key added' ...")  # fmt: skip
@click.option("--limit", default=1000, show_default=True, help="At most so many.")
@json_option
@data_option
@tells_errors
def list_command(
    *, since: float, actions: tuple[str, ...], limit: int, as_json: bool, data: Path | None
) -> None:
    """What happened of late, the oldest first.

    \b
    pathlane audit list --data .pathlane
    pathlane audit list --since 168 --action read --action replayed --json
    """
    begin = datetime.now(UTC) - timedelta(hours=since)
    entries = islice(open_place(data).audit.since(begin, actions=actions), limit)
    _print_entries(entries, as_json=as_json)


def _document(found: Report) -> dict[str, Any]:
    return {
        "clean": not found.findings,
        "head": str(found.head) if found.head else None,
        "unchained": found.unchained,
        "findings": [{"kind": one.kind.value, "text": one.text} for one in found.findings],
    }


def _print(found: Report, anchors: tuple[Head, ...]) -> None:
    for one in found.findings:
        click.echo(one.text)
    rows = found.head.seq if found.head else 0
    waiting = f", {found.unchained} more wait to be chained" if found.unchained else ""
    sentence = "No row was changed or removed" if not found.findings else f"{len(found.findings)} findings"
    click.echo(f"{sentence}: {rows} rows in the chain, {len(anchors)} anchors{waiting}.")


def _print_entries(entries: Iterable[Entry], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) | {"at": instant(one.at)} for one in entries])
        return
    for one in entries:
        about = (one.job_id, one.case_id, one.delivery_id, one.message_id, one.subject_id)
        attempt = f"attempt {one.attempt}" if one.attempt else None
        words = (instant(one.at), one.action, f"by {one.actor}", *about, attempt, one.code)
        click.echo("  ".join(word for word in words if word))


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Says on a terminal which row was looked at last."""
    from rich.console import Console  # noqa: PLC0415  only waiting needs it

    with Console(stderr=True).status("verifying") as status:
        yield lambda row: status.update(f"row {row:,}")
