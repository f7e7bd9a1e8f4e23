"""Alembic's entrance: runs the steps on the connection it is given, or on PATHLANE_DATABASE_URL."""

from alembic import context

from worker.settings import StoreSettings
from worker.store.session import Database, Instant
from worker.store.tables import Base


def render_item(kind, item, autogen):
    """Write our own column type by name, with its import."""
    if kind == "type" and isinstance(item, Instant):
        autogen.imports.add("from worker.store.session import Instant")
        return "Instant()"
    return False


def run(connection):
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=render_item
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with Database(StoreSettings().database_url.get_secret_value()).patiently() as connection:
        run(connection)
