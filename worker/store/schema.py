"""The schema's history: bring a database up to date, or say that it is not.

In: a database. Out: nothing, or SchemaOutdated. The steps themselves are in `migrations/`, which lies
beside the packages in a checkout and in the working folder of an image.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from worker.errors import SchemaOutdated
from worker.store.session import Database

if TYPE_CHECKING:
    from alembic.config import Config

#: the newest step in `migrations/`; a test holds them together
HEAD: Final = "0005"


def migrate(database: Database, revision: str = "head") -> None:
    """Run every step that is missing; does nothing on a database that is up to date."""
    from alembic import command  # noqa: PLC0415  two seconds that only a migration should cost

    config = _config()
    with database.patiently() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def check(database: Database) -> None:
    """Raises SchemaOutdated, or StoreUnavailable."""
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            raise SchemaOutdated
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current != HEAD:
        raise SchemaOutdated


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415  as above

    beside_packages = Path(__file__).parents[2] / "migrations"
    folder = beside_packages if beside_packages.is_dir() else Path.cwd() / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
