"""For whoever writes a client: openapi."""

from __future__ import annotations

import click

from integrations.commands.place import print_json
from integrations.http_api.app import description


@click.command()
def openapi() -> None:
    """The description of the HTTP API (OpenAPI 3.1), as the gateway has it at /openapi.json.

    \b
    pathlane openapi > pathlane.json
    """
    print_json(description())
