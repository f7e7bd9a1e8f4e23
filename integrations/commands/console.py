"""For whoever looks: a link into the console."""

from __future__ import annotations

from pathlib import Path

import click

from integrations import stack
from integrations.commands.place import REFUSED, Place, data_option, leave, open_place, tells_errors
from integrations.console.links import new_link
from worker.store.keys import ApiKey


@click.command()
@click.option(
    "--key", "named", default=stack.KEY, show_default=True, help="Name or id of the API key it stands for."
)
@data_option
@tells_errors
def console(*, named: str, data: Path | None) -> None:
    """Print an address that signs you in to the console, once, within ten minutes.

    \b
    pathlane console --data .pathlane
    pathlane console --key pathologist
    """
    place = open_place(data)
    url = stack.address(data) if data is not None else ""
    click.echo(
        new_link(
            place.passes, _key(place, named).id, url or place.settings.delivery.public_url, actor=place.actor
        )
    )


def _key(place: Place, named: str) -> ApiKey:
    """The newest of that name that opens anything."""
    found = [key for key in place.keys.all() if named in (key.id, key.name) and key.revoked_at is None]
    if not found:
        leave("there is no such key; `pathlane key add NAME` makes one", REFUSED)
    return found[-1]
