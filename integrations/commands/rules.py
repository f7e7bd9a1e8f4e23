"""For whoever writes a site's rules: check, explain, test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from integrations.commands.place import (
    EX_CONFIG,
    data_option,
    json_option,
    leave,
    print_json,
    settings_for,
    tells_errors,
)
from integrations.fhir.orders import orders_of
from integrations.hl7.head import read_head
from integrations.hl7.message import parse
from integrations.hl7.orders import Ignored, read_orders
from integrations.rules.explaining import explain as explained
from integrations.rules.explaining import explain_plan, explain_plan_text, explain_text
from integrations.rules.matching import Rules
from integrations.site import open_site_rules, profile_for
from worker.errors import FhirUnreadable, RulesInvalid
from worker.jobs.order import Channel, Order, Sender

MOST_MESSAGE_BYTES: Final = 16 * 1024 * 1024
#: what may stand around a saved message: line ends, the frame of MLLP
_FRAME: Final = b"\x0b\x1c\r\n"
_BEFORE: Final = b"\xef\xbb\xbf \t\r\n"

rules_option = click.option(
    "--rules", "file", type=click.Path(path_type=Path, dir_okay=False),
    help="The rules file; else the one of PATHLANE_RULES.",
)  # fmt: skip


@click.group()
def rules() -> None:
    """Which order asks which question: check, explain, test."""


@rules.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(*, file: Path) -> None:
    """Everything that is wrong with a rules file, with its line. Exit status 78 if anything is.

    \b
    pathlane rules check rules.yaml
    """
    found = _open(file)
    counts = (
        _count(found.rules, "rule"), _count(found.protocols, "protocol"), _count(found.senders, "sender"),
    )  # fmt: skip
    click.echo(f"{file.name} is valid: {', '.join(counts)}\n{found.digest}")


@rules.command("explain")
@rules_option
@json_option
@data_option
@tells_errors
def explain(*, file: Path | None, as_json: bool, data: Path | None) -> None:
    """What a site asks: each rule in a sentence, each question with what its answers do.

    \b
    pathlane rules explain --rules rules.yaml
    pathlane rules explain --data .pathlane --json
    """
    found = _open(file or _set(data))
    if as_json:
        print_json(explained(found))
    else:
        click.echo(explain_text(found))


@rules.command("test")
@click.argument(
    "messages", nargs=-1, required=True, metavar="MESSAGE...",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
)  # fmt: skip
@click.option("--server", default="", help="Of FHIR resources: the name of the server they come from.")
@rules_option
@json_option
@data_option
@tells_errors
def test(
    messages: tuple[Path, ...], *, server: str, file: Path | None, as_json: bool, data: Path | None
) -> None:
    """What the rules make of an order: which rule matches, and what would be submitted. Nothing is.

    MESSAGE is a file with one HL7 v2 message, or FHIR resources in JSON: a Bundle, or several files that
    belong together. `-` is the standard input. Nothing of the patient is printed.

    \b
    pathlane rules test message.hl7 --rules rules.yaml
    pathlane rules test bundle.json --data .pathlane --json
    """
    found = _open(file or _set(data))
    orders = list(_orders([_body(message) for message in messages], found, server))
    told = [(order, found.plan(order)) for order in orders]
    if as_json:
        print_json([explain_plan(order, plan) for order, plan in told])
    elif told:
        click.echo("\n\n".join(explain_plan_text(order, plan) for order, plan in told))
    else:
        click.echo("This says nothing about a slide: it would be taken, and nothing done.")


def _open(file: Path) -> Rules:
    """The problems stand one a line, so that an editor can go to each."""
    try:
        return open_site_rules(file)
    except RulesInvalid as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        leave(str(error.__doc__), EX_CONFIG)


def _set(data: Path | None) -> Path:
    found = settings_for(data).lis.rules
    if found is None:
        leave("no rules are set: give --rules FILE, or set PATHLANE_RULES", EX_CONFIG)
    return found


def _body(message: Path) -> bytes:
    try:
        with click.open_file(str(message), "rb") as file:
            body: bytes = file.read(MOST_MESSAGE_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"a message cannot be opened: {error.strerror}") from None
    if len(body) > MOST_MESSAGE_BYTES:
        raise click.UsageError(f"a message has more than {MOST_MESSAGE_BYTES} bytes")
    return body


def _orders(bodies: Sequence[bytes], rules: Rules, server: str) -> Iterator[Order]:
    """JSON is FHIR, all of it one case; anything else is a message each."""
    resources = [body for body in bodies if body.lstrip(_BEFORE)[:1] == b"{"]
    if resources:
        yield from _of_fhir(resources, rules, server)
    for body in bodies:
        if body not in resources:
            yield from _of_hl7(body, rules)


def _of_hl7(body: bytes, rules: Rules) -> Iterator[Order]:
    raw = body.strip(_FRAME)
    head = read_head(raw)
    known = rules.sender(Sender(channel=Channel.HL7, application=head.application, facility=head.facility))
    found = read_orders(parse(raw, charset=known.charset), profile_for(known))
    if not isinstance(found, Ignored):
        yield from (replace(order, domain=known.domain) for order in found)


def _of_fhir(bodies: Sequence[bytes], rules: Rules, server: str) -> Iterator[Order]:
    sender = Sender(channel=Channel.FHIR, application=server)
    heard = orders_of(*map(_resource, bodies), sender=sender, ours="")
    if heard.refusals:
        raise heard.refusals[0]
    yield from (replace(order, domain=rules.sender(sender).domain) for order in heard.orders)


def _resource(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise FhirUnreadable from None


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
