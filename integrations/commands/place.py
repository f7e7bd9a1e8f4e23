"""What every subcommand shares: where the store is, how errors are told, how JSON is printed."""

from __future__ import annotations

import functools
import json
import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import click

from worker import uploads
from worker.errors import (
    InputError,
    NotFound,
    PathlaneError,
    RulesInvalid,
    SchemaOutdated,
    SealBroken,
    TransientError,
)
from worker.settings import Settings, SettingsError, embedded_environment, read_settings
from worker.store import schema
from worker.store.audit import Audit
from worker.store.cases import Cases
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.listing import Listing
from worker.store.outbox import Outbox
from worker.store.passes import Passes
from worker.store.presence import Workers
from worker.store.reviews import Reviews
from worker.store.sealing import seal_of
from worker.store.session import Database

REFUSED, UNAVAILABLE, EX_CONFIG = 2, 3, 78

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A deployment as a subcommand sees it."""

    settings: Settings
    database: Database

    @property
    def jobs(self) -> Jobs:
        return Jobs(
            self.database,
            public_url=self.settings.delivery.public_url,
            queue_limit=self.settings.store.queue_limit,
            use=functools.partial(uploads.use, self.settings.imaging.uploads_dir),
        )

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.database)

    @property
    def listing(self) -> Listing:
        return Listing(self.database)

    @property
    def reviews(self) -> Reviews:
        return Reviews(self.database)

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.database)

    @property
    def keys(self) -> Keys:
        return Keys(self.database)

    @property
    def passes(self) -> Passes:
        return Passes(self.database)

    @property
    def audit(self) -> Audit:
        return Audit(self.database)

    @property
    def actor(self) -> str:
        """As the audit names whoever typed this: the account that the kernel knows."""
        try:
            return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
        except KeyError:
            return f"cli:{os.getuid()}"

    @property
    def workers(self) -> Workers:
        return Workers(self.database)

    @property
    def cases(self) -> Cases:
        """Raises SettingsError without the keys that orders were sealed with."""
        return Cases(self.database, seal_of(self.settings))

    def ring(self) -> bool:
        """Whether the broker took the bell. Celery is imported here: only submitting needs it."""
        from worker.app import connect, ring_readers  # noqa: PLC0415

        connect(self.settings.queue.broker_url.get_secret_value())
        return ring_readers([1])


def open_place(data: Path | None) -> Place:
    """The embedded store in `data`, or what the settings say. Raises SettingsError, PathlaneError."""
    settings = settings_for(data)
    if data is not None and not (data / "pathlane.db").exists():
        leave("there is no store in this folder; `pathlane up --data DIR` makes one", EX_CONFIG)
    database = Database(settings.store.database_url.get_secret_value())
    click.get_current_context().call_on_close(database.close)
    schema.check(database)
    return Place(settings=settings, database=database)


def settings_for(data: Path | None) -> Settings:
    if data is not None:
        os.environ.update(embedded_environment(data.resolve(), os.environ))  # noqa: TID251  # an entrance
    return read_settings()


def data_option(function: Callable[P, R]) -> Callable[P, R]:
    return click.option(
        "--data", type=click.Path(path_type=Path, file_okay=False),
        help="Folder of an embedded store (`pathlane up --data DIR`); else the PATHLANE_* settings decide.",
    )(function)  # fmt: skip


def json_option(function: Callable[P, R]) -> Callable[P, R]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def tells_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Every error of ours becomes one sentence on standard error and an exit status."""

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except SettingsError as error:
            leave(str(error), EX_CONFIG)
        except SchemaOutdated as error:
            leave(error.public, EX_CONFIG)
        except PathlaneError as error:
            leave(error.public, _status(error))

    return told


def _status(error: PathlaneError) -> int:
    if isinstance(error, RulesInvalid | SealBroken):
        return EX_CONFIG
    if isinstance(error, TransientError):
        return UNAVAILABLE
    return REFUSED if isinstance(error, InputError) else 1


def leave(sentence: str, status: int) -> NoReturn:
    click.echo(f"pathlane: {sentence}", err=True)
    sys.exit(status)


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


__all__ = [
    "NotFound",
    "Place",
    "data_option",
    "json_option",
    "leave",
    "open_place",
    "print_json",
    "tells_errors",
]
