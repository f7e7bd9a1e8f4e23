"""For whoever keeps it: migrate, replay, endpoints, keys."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from integrations.commands.place import (
    data_option,
    json_option,
    open_place,
    print_json,
    settings_for,
    tells_errors,
)
from integrations.view import instant
from integrations.webhooks.signing import Secret
from worker.jobs.event import JOB_EVENTS, Endpoint, EventType, Payload
from worker.jobs.scope import Scope
from worker.store import schema
from worker.store.keys import ApiKey
from worker.store.session import Database

OVERLAP_HOURS = 24.0


class _End(click.ParamType[datetime]):
    name = "DAYS|TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            if isinstance(value, datetime):
                return value
            end = (
                datetime.now(UTC) + timedelta(days=float(value))
                if value.replace(".", "", 1).isdigit()
                else datetime.fromisoformat(value)
            )
        except (ValueError, OverflowError):
            self.fail("give a number of days, or a time such as 2027-01-31T12:00:00Z", param, ctx)
        end = end if end.tzinfo else end.replace(tzinfo=UTC)
        if end <= datetime.now(UTC):
            self.fail("lies in the past", param, ctx)
        return end


@click.command()
@data_option
@tells_errors
def migrate(*, data: Path | None) -> None:
    """Bring the database to this version's schema. Does nothing when it is there."""
    database = Database(settings_for(data).store.database_url.get_secret_value())
    schema.migrate(database)
    click.echo("The database is up to date.")


@click.command()
@click.argument("delivery_id", metavar="[msg_ID]", required=False)
@click.option("--failed-since", type=float, metavar="HOURS", help="Everything that failed in the last hours.")
@data_option
@tells_errors
def replay(delivery_id: str | None, *, failed_since: float | None, data: Path | None) -> None:
    """Send an event again, under the same id.

    \b
    pathlane replay msg_01ARZ3NDEKTSV4RRFFQ69G5FAV
    pathlane replay --failed-since 48
    """
    place = open_place(data)
    if (delivery_id is None) == (failed_since is None):
        raise click.UsageError("give a delivery's id, or --failed-since HOURS")
    if delivery_id is not None:
        place.outbox.replay(delivery_id, actor=place.actor)
        click.echo("1 event is due again.")
    else:
        since = datetime.now(UTC) - timedelta(hours=failed_since or 0)
        count = place.outbox.replay_failed(since=since, actor=place.actor)
        click.echo(f"{count} events are due again.")


@click.group()
def endpoint() -> None:
    """Who is told: add, list, rotate, pause, resume."""


@endpoint.command("add")
@click.argument("name")
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice([e.value for e in JOB_EVENTS]),
    help="All by default; to other systems than webhooks, job.succeeded.",
)
@click.option(
    "--full", is_flag=True, help="Send reasoning and answer too (https only); ids and status by default."
)
@json_option
@data_option
@tells_errors
def add_endpoint(
    name: str, url: str, *, events: tuple[str, ...], full: bool, as_json: bool, data: Path | None
) -> None:
    """Tell URL of every job that ends. Prints the secret, once.

    Other systems than webhooks are told of the readings that a site's rules send there.

    \b
    pathlane endpoint add lis https://lis.example.org/pathlane --event job.succeeded
    pathlane endpoint add lis mllp://lis.example.org:2575
    pathlane endpoint add fhir fhir+https://fhir.example.org/r4
    pathlane endpoint add archive dicomweb+https://pacs.example.org/dicom-web
    """
    every = list(JOB_EVENTS) if url.startswith("http") else [EventType.JOB_SUCCEEDED]
    secret = Secret.new(secrets.token_bytes).text
    place = open_place(data)
    added = place.endpoints.add(
        name, url, secret=secret, event_types=[EventType(e) for e in events] or every,
        payload=Payload.FULL if full else Payload.THIN, actor=place.actor,
    )  # fmt: skip
    _print_secret(added, secret, as_json=as_json)


@endpoint.command("list")
@json_option
@data_option
@tells_errors
def list_endpoints(*, as_json: bool, data: Path | None) -> None:
    """All endpoints; no secrets."""
    found = [
        {"id": e.id, "name": e.name, "status": e.status.value, "payload": e.payload.value,
         "events": [t.value for t in e.event_types], "url": e.url}
        for e in open_place(data).endpoints.all()
    ]  # fmt: skip
    if as_json:
        print_json(found)
        return
    for one in found:
        click.echo(f"{one['id']}  {one['name']}  {one['status']}  {one['payload']}  {one['url']}")


@endpoint.command("rotate")
@click.argument("name")
@click.option(
    "--overlap", default=OVERLAP_HOURS, show_default=True, help="Hours in which the old secret signs too."
)
@json_option
@data_option
@tells_errors
def rotate(name: str, *, overlap: float, as_json: bool, data: Path | None) -> None:
    """Give an endpoint a new secret. Prints it, once."""
    secret = Secret.new(secrets.token_bytes).text
    place = open_place(data)
    changed = place.endpoints.rotate(name, secret=secret, overlap_seconds=overlap * 3600, actor=place.actor)
    _print_secret(changed, secret, as_json=as_json)


@endpoint.command("pause")
@click.argument("name")
@data_option
@tells_errors
def pause(name: str, *, data: Path | None) -> None:
    """Let an endpoint's events wait."""
    place = open_place(data)
    click.echo(place.endpoints.pause(name, actor=place.actor).status.value)


@endpoint.command("resume")
@click.argument("name")
@data_option
@tells_errors
def resume(name: str, *, data: Path | None) -> None:
    """Send what has waited."""
    place = open_place(data)
    click.echo(place.endpoints.resume(name, actor=place.actor).status.value)


@click.group()
def key() -> None:
    """Who may ask over HTTP: add, list, revoke."""


@key.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([s.value for s in Scope]),
    help="What it opens; may be repeated. Everything, when none is given.",
)
@click.option(
    "--expires",
    type=_End(),
    metavar="DAYS|TIME",
    help="After so many days, or at that time (2027-01-31, 2027-01-31T12:00:00Z). It never ends by default.",
)
@data_option
@tells_errors
def add_key(name: str, *, scopes: tuple[str, ...], expires: datetime | None, data: Path | None) -> None:
    """Make an API key. Prints it, once; only its digest is kept.

    \b
    pathlane key add lis --scope submit --scope read --expires 365
    pathlane key add console --scope read --scope review --scope operate
    """
    made = f"pl_{secrets.token_urlsafe(32)}"
    place = open_place(data)
    place.keys.add(
        name, made, scopes=[Scope(scope) for scope in scopes] or tuple(Scope), expires_at=expires,
        actor=place.actor,
    )  # fmt: skip
    click.echo(made)


@key.command("list")
@data_option
@tells_errors
def list_keys(*, data: Path | None) -> None:
    """All keys: id, name, since when, what they open, and until when."""
    for one in open_place(data).keys.all():
        scopes = ",".join(scope.value for scope in Scope if scope in one.scopes) or "nothing"
        click.echo(f"{one.id}  {one.name}  {instant(one.created_at)}  {scopes}  {_validity(one)}")


@key.command("revoke")
@click.argument("key_id", metavar="key_ID")
@data_option
@tells_errors
def revoke_key(key_id: str, *, data: Path | None) -> None:
    """Let a key in no longer."""
    place = open_place(data)
    place.keys.revoke(key_id, actor=place.actor)
    click.echo("revoked")


def _validity(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {instant(key.revoked_at)}"
    if key.expires_at is None:
        return "valid"
    word = "expired" if key.expires_at <= datetime.now(UTC) else "until"
    return f"{word} {instant(key.expires_at)}"


def _print_secret(added: Endpoint, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": added.id, "name": added.name, "secret": secret})
    else:
        click.echo(f"{added.id}  {added.name}\nSecret (shown once): {secret}")
