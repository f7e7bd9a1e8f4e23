"""For whoever decides whether triage goes live: shadow report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from integrations.commands.place import data_option, json_option, open_place, print_json, tells_errors
from integrations.shadow import Report, report
from worker.jobs.order import Mode


@click.group()
def shadow() -> None:
    """What triage would have changed: report."""


@shadow.command("report")
@click.option("--days", default=30.0, show_default=True, help="Of how many days back.")
@click.option("--live", is_flag=True, help="Of the questions whose readings were told, instead.")
@json_option
@data_option
@tells_errors
def report_command(*, days: float, live: bool, as_json: bool, data: Path | None) -> None:
    """Would-be changes of priority, agreement with final reports, turnaround.

    \b
    pathlane shadow report --data .pathlane --days 7
    """
    since = datetime.now(UTC) - timedelta(days=days)
    mode = Mode.LIVE if live else Mode.SHADOW
    place = open_place(data)
    found = report([one for one in place.cases.asked(since=since) if one.mode is mode])
    if as_json:  # with the answers
        place.audit.hand_out([row.job_id for row in found.rows if row.answer], actor=place.actor)
        print_json(found.document())
        return
    _print(found)


def _print(found: Report) -> None:
    click.echo(f"asked       {found.asked}, answered {found.answered}")
    click.echo(f"priority    {found.raised} would be raised, {found.flagged} flagged, none lowered")
    for change, count in sorted(found.changes.items()):
        click.echo(f"            {change}: {count}")
    compared = found.agreed + found.disagreed
    share = f" ({found.agreed / compared:.0%})" if compared else ""
    click.echo(f"agreement   {found.agreed} of {compared} final reports{share}")
    if found.turnaround_median is not None and found.turnaround_p95 is not None:
        click.echo(
            f"turnaround  median {found.turnaround_median:.1f} s, 95 % within {found.turnaround_p95:.1f} s"
        )
