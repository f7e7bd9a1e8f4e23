"""The pages of the reference that are made from the code: `python docs/generate.py` writes all of them,
here or into the folder that is named.

In: the code, its docstrings and its `#:` comments. Out: Markdown, the same on every machine.
`tests/unit/test_reference.py` compares the pages that lie here with what this program would write.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import click
from pydantic import SecretStr
from sphinx.pycode import ModuleAnalyzer
from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper

import worker.errors
from integrations import cli
from integrations.http_api.problems import STATUSES
from worker import metrics, settings
from worker.errors import AttemptsExhausted, PathlaneError
from worker.jobs import event, request
from worker.jobs.job import Job, Status
from worker.jobs.reading import RESEARCH_USE, Provenance, Reading, ReadingOutcome
from worker.store import schema, tables

#: a comment may name a page of the reference, with or without backticks
_PAGE: Final = re.compile(r"`?docs/reference/([\w-]+)\.md`?")

REFERENCE: Final = Path(__file__).parent / "reference"

#: of whom the pages say that they are made, and how
MADE: Final = "This page is made from the code by `docs/generate.py`."

SECTIONS: Final = {
    "Store": settings.StoreSettings,
    "Queue": settings.QueueSettings,
    "Model": settings.ModelSettings,
    "Imaging": settings.ImagingSettings,
    "Telling": settings.DeliverySettings,
    "Gateway": settings.ApiSettings,
    "Signing in at an OpenID provider": settings.SignOnSettings,
    "Hospital systems": settings.LisSettings,
    "Metrics and traces": settings.TelemetrySettings,
}


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "Environment variables. `pathlane up --data DIR` sets those of an embedded store itself.",
        "",
    ]
    head = ("variable", "default", "meaning")
    for title, section in SECTIONS.items():
        fields = section.model_fields.items()
        rows = [
            (f"`PATHLANE_{name.upper()}`", _default(one.default), one.description) for name, one in fields
        ]
        lines += [f"## {title}", "", *_table(head, rows), ""]
    level = ("`PATHLANE_LOG_LEVEL`", "`info`", "`debug`, `info`, `warning` or `error`.")
    return "\n".join([*lines, "## Logging", "", *_table(head, [level]), ""])


def _default(value: Any) -> str:
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    shown = "" if value in ((), "", None) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{shown}`" if shown else "none"


def errors_page() -> str:
    rows = []
    for error in vars(worker.errors).values():
        if inspect.isclass(error) and issubclass(error, PathlaneError):
            status = next(STATUSES[kind] for kind in error.__mro__ if kind in STATUSES)
            again = "yes" if error.retryable else "no"
            rows.append((f"`{error.code}`", status.value, again, (error.__doc__ or "").strip()))
    return "\n".join([
        "# Errors",
        "",
        "`code` stands in a failed job's `error` and in a problem document (RFC 9457) of the API.",
        "",
        *_table(("code", "HTTP", "tried again", "sentence"), rows),
        "",
    ])  # fmt: skip


def commands_page() -> str:
    """Every command with what its `--help` says."""
    lines = [
        "# The command line",
        "",
        f"What `--help` says of every command. {MADE}",
        "",
        (cli.__doc__ or "").split("\n\n", 1)[1].strip(),
        "",
    ]
    for path, command in _commands(("pathlane",), cli.main):
        lines += [f"{'#' * (len(path) + 1)} {' '.join(path)}", "", "```text", _help(path, command), "```", ""]
    return "\n".join(lines)


def _commands(
    path: tuple[str, ...], command: click.Command
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands((*path, name), found)


def _help(path: tuple[str, ...], command: click.Command) -> str:
    names = {"help_option_names": ["-h", "--help"]} if command is not cli.main else {}
    context = click.Context(
        command, info_name=" ".join(path), terminal_width=100, **(names | command.context_settings)
    )
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def request_page() -> str:
    """JobRequest, as its JSON schema has it."""
    whole = request.JobRequest.model_json_schema()
    lines = [
        "# The request",
        "",
        "Version 1: the body of `POST /v1/jobs`, the argument of the Celery task `pathlane.submit`, and what",
        "`pathlane submit` makes. Unknown fields are refused. See [Ask a question](../how-to/submit.md).",
        MADE,
        "",
    ]
    said = _said("worker.jobs.request")
    for model in (request.JobRequest, request.ImageReference, request.Region):
        described = whole if model is request.JobRequest else whole["$defs"][model.__name__]
        rows = [
            (f"`{name}`", _kind(field), _given(name, field, described), _meaning(said, model, name))
            for name, field in described["properties"].items()
        ]
        lines += [f"## {model.__name__}", "", " ".join((model.__doc__ or "").split()), ""]
        lines += [*_table(("field", "type", "default", "meaning"), rows), ""]
    for words in (request.Style, request.Priority, request.Unit):
        lines += [f"## {words.__name__}", "", (words.__doc__ or "").strip(), "", *_words(said, words), ""]
    return "\n".join(lines)


def _kind(field: dict[str, Any]) -> str:
    """A property of a JSON schema, in words."""
    if "anyOf" in field:
        return _kind(next(one for one in field["anyOf"] if one.get("type") != "null"))
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if field["type"] == "array":
        return f"{_range(field.get('minItems', 0), field.get('maxItems'))} of {_kind(field['items'])}"
    return _simple_kind(field)


def _simple_kind(field: dict[str, Any]) -> str:
    if field["type"] == "object":
        [of] = map(_kind, field["patternProperties"].values())
        return f"{_range(0, field.get('maxProperties'))} names ({_range(1, 64)} characters), each with {of}"
    if field.get("format") == "date-time":
        return "time, RFC 3339"
    if field["type"] == "string":
        most = field.get("maxLength")
        return "text" if most is None else f"text, {_range(field.get('minLength', 0), most)} characters"
    return f"{field['type']}{_limits(field)}"


def _limits(field: dict[str, Any]) -> str:
    signs = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
    return "".join(f" {sign} {field[name]:g}" for name, sign in signs.items() if name in field)


def _range(least: int, most: int | None) -> str:
    return f"{least} to {most:,}" if most is not None else f"{least} or more"


def _given(name: str, field: dict[str, Any], described: dict[str, Any]) -> str:
    if name in described["required"]:
        return "must be given"
    return f"`{json.dumps(field['default'])}`".replace("`null`", "none")


#: what each field of an event's `data` is; a field without a row here is an error
EVENT_FIELDS: Final = {
    "job_id": "the job that ended",
    "correlation_id": "the asker's own id, or null",
    "status": "where the job stands: the same word as in `type`",
    "priority": "as it was asked for",
    "attempt": "the attempt that ended it",
    "error": "`code` and `text` of [an error](errors.md); null where there is none",
    "result_url": "where the reading is fetched, with an API key",
    "research_use_only": "always true",
    "human_review": "always `required`",
    "notice": "must be shown wherever the answer is shown",
    "outcome": "how far the model came; only where there is a reading",
    "model": "id, digest of the weights and licence; only where there is a reading",
    "reading": "reasoning, answer and choice; only to endpoints with a full payload",
}


def events_page() -> str:
    said = _said("worker.jobs.event")
    thin, full, failed = _events()
    fields = [(f"`{name}`", EVENT_FIELDS[name]) for name in {**thin["data"], **full["data"]}]
    assert len(fields) == len(EVENT_FIELDS)
    pairs = [(f"`{a}`", f"`{b}`", why) for (a, b), why in event.DELIVERY_TRANSITIONS.items()]
    return "\n".join([
        "# Events",
        "",
        "What is told when a job ends. Headers and signatures are those of Standard Webhooks:",
        f"[Receive webhooks](../how-to/receive-webhooks.md). {MADE}",
        "",
        "## Types", "", *_words(said, event.EventType), "",
        "## Body", "",
        "`type`, `timestamp` (UTC) and `data`:", "",
        *_table(("field of `data`", "meaning"), fields), "",
        "Thin ([decision 5](../decisions/0005-thin-events.md)):", "", *_json(thin), "",
        "Full (`pathlane endpoint add --full`, over https only):", "", *_json(full), "",
        "Failed:", "", *_json(failed), "",
        "## Endpoints", "", *_words(said, event.EndpointStatus), "",
        "## Deliveries", "", *_words(said, event.DeliveryStatus), "",
        "What may follow what:", "", *_table(("from", "to", "when"), pairs), "",
    ])  # fmt: skip


def _events() -> list[dict[str, Any]]:
    """A thin, a full and a failed one, made by the function that makes all of them."""
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    asked = request.parse_request({
        "images": [{"reference": f"upload:sha256-{'0' * 64}"}], "question": "Which stain is shown?",
        "options": ["Hematoxylin and eosin", "No tissue"], "priority": "stat", "correlation_id": "case-4711",
    })  # fmt: skip
    common: dict[str, Any] = {
        "id": "job_01ARZ3NDEKTSV4RRFFQ69G5FAV", "request": asked, "submitter": "lis", "alone": False,
        "cancel_requested": False, "created_at": at, "not_before": at, "finished_at": at,
    }  # fmt: skip
    done = Job(**common, status=Status.SUCCEEDED, attempt=1, error_code=None, error_text=None)
    error = AttemptsExhausted()
    failed = Job(**common, status=Status.FAILED, attempt=3, error_code=error.code, error_text=error.public)
    url = "https://pathlane.lab.example"
    thin, full = event.Payload.THIN, event.Payload.FULL
    made = [(done, _reading(), thin), (done, _reading(), full), (failed, None, thin)]
    return [
        json.loads(event.event_body(job, reading, at=at, base_url=url, payload=much))
        for job, reading, much in made
    ]


def _reading() -> Reading:
    provenance = Provenance(
        model="WenchuanZhang/Patho-R1-3B", weights_digest="sha256:...", license="CC-BY-NC-ND-4.0",
        notice=RESEARCH_USE, prompt_version="", decoding={}, engine="in-flight", rows=1, dtype="", device="",
        seed=0, software={}, patches=(),
    )  # fmt: skip
    return Reading(
        outcome=ReadingOutcome.ANSWERED, reasoning="...", answer="A. Hematoxylin and eosin", choice="A",
        raw_text="", prompt_tokens=0, completion_tokens=0, timings={}, provenance=provenance,
    )  # fmt: skip


def database_page() -> str:
    """The tables in the order in which the code has them."""
    lines = [
        "# The database",
        "",
        f"Version {schema.HEAD} of the schema (`alembic_version`), as `pathlane migrate` makes it. Types are",
        "PostgreSQL's; SQLite has its own words for the same. Every time is UTC, on the database's clock.",
        f"Change nothing by hand: the [audit](audit.md) is chained. {MADE}",
        "",
    ]
    said = _said("worker.store.tables") | _said("worker.store.hospital_tables")
    for mapper in sorted(tables.Base.registry.mappers, key=_place):
        row, table = mapper.class_, mapper.local_table
        assert isinstance(table, Table)
        columns = [
            (f"`{one.name}`", _type(one), _meaning(said, row, one.name) + _points_to(one))
            for one in table.columns
        ]
        lines += [f"## {table.name}", "", inspect.getdoc(row) or "", ""]
        lines += [*_table(("column", "type", "meaning"), columns), "", *_keys(table), ""]
    return "\n".join(lines)


def _place(mapper: Mapper[Any]) -> tuple[bool, int]:
    return mapper.class_.__module__ != tables.__name__, inspect.getsourcelines(mapper.class_)[1]


def _type(column: Column[Any]) -> str:
    name = (
        column.type.compile(dialect=postgresql.dialect())
        .lower()
        .replace("timestamp with time zone", "timestamptz")
    )
    return f"{name}, may be null" if column.nullable else name


def _points_to(column: Column[Any]) -> str:
    return "".join(f" (`{key.target_fullname}`)" for key in column.foreign_keys)


def _keys(table: Table) -> Iterator[str]:
    yield f"- primary key: {_names(table.primary_key.columns)}"
    for unique in sorted(
        (one for one in table.constraints if isinstance(one, UniqueConstraint)),
        key=lambda one: [column.name for column in one.columns],
    ):
        yield f"- unique: {_names(unique.columns)}"
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        unique_too = " (unique)" if index.unique else ""
        yield f"- index `{index.name}`{unique_too}: {_names(index.columns)}{_where(index)}"


def _names(columns: Iterable[Column[Any]]) -> str:
    return ", ".join(f"`{column.name}`" for column in columns)


def _where(index: Index) -> str:
    where = index.dialect_options["postgresql"]["where"]
    return "" if where is None else f" where `{where}`"


def _said(module: str) -> dict[tuple[str, str], str]:
    """(class, attribute) -> its `#:` comment."""
    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {key: " ".join(lines).strip() for key, lines in found.items()}


def _meaning(said: dict[tuple[str, str], str], owner: type, name: str) -> str:
    return _PAGE.sub(r"[\1](\1.md)", said[owner.__name__, name])


def _words(said: dict[tuple[str, str], str], words: type[StrEnum]) -> list[str]:
    return _table(("word", "meaning"), [(f"`{one}`", _meaning(said, words, one.name)) for one in words])


def _json(document: Any) -> list[str]:
    return ["```json", json.dumps(document, indent=2, ensure_ascii=False), "```"]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [
        "|" + "|".join(line) + "|" if line[0] == "---" else f"| {' | '.join(map(str, line))} |"
        for line in lines
    ]


def metrics_page() -> str:
    lines = [
        "# Metrics",
        "",
        "What each program answers at `/metrics`, beside `pathlane_build_info` and the `process_*` of its",
        "process. Where they answer: [monitor](../how-to/monitor.md). A histogram is three series:",
        "`_bucket`, `_sum` and `_count`. The values of `code` are those of [errors](errors.md).",
        "",
        "| metric | type | answered by | labels | meaning |",
        "|---|---|---|---|---|",
    ]
    for family in metrics.FAMILIES:
        (described,) = family.metric.describe()
        name = described.name + ("_total" if described.type == "counter" else "")
        sets = (
            f"`{label}`" + (f": {', '.join(values)}" if values else "")
            for label, values in family.labels.items()
        )
        cells = (f"`{name}`", described.type, ", ".join(family.programs), "; ".join(sets) or "-")
        lines.append(f"| {' | '.join((*cells, described.documentation))} |")
    return "\n".join([*lines, ""])


PAGES: Final[dict[str, Callable[[], str]]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "request.md": request_page,
    "database.md": database_page,
    "cli.md": commands_page,
    "metrics.md": metrics_page,
}

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCE
    for name, page in PAGES.items():
        (folder / name).write_text(page())
