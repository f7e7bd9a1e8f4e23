"""The schema's history: bring a database up to date, or say that it is not.

In: a database. Out: nothing, or SchemaOutdated. The steps themselves are in `migrations/`, which lies
beside the packages in a checkout and in the working folder of an image.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from worker.errors import SchemaOutdated
from worker.store.session import Database


def migrate(database: Database, revision: str = "head") -> None:
    """Run every step that is missing; does nothing on a database that is up to date."""
    config = _config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def check(database: Database) -> None:
    """Raises SchemaOutdated, or StoreUnavailable."""
    with database.read() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != ScriptDirectory.from_config(_config()).get_current_head():
        raise SchemaOutdated


def _config() -> Config:
    beside_packages = Path(__file__).parents[2] / "migrations"
    folder = beside_packages if beside_packages.is_dir() else Path.cwd() / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
