"""The migrations and the tables say the same, on both databases, up and down."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from worker.errors import SchemaOutdated
from worker.store import schema
from worker.store.session import Database
from worker.store.tables import Base


@pytest.fixture
def empty(database_url):
    database = Database(database_url)
    yield database
    database.close()


def downgrade(database, revision="base"):
    config = schema._config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_the_migrated_schema_is_the_one_in_the_tables(empty):
    schema.migrate(empty)
    with empty.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_step_is_the_one_that_is_checked_for():
    assert ScriptDirectory.from_config(schema._config()).get_current_head() == schema.HEAD


def test_migrating_twice_changes_nothing(empty):
    schema.migrate(empty)
    schema.migrate(empty)
    schema.check(empty)


def test_all_the_way_down_leaves_nothing_and_up_again_works(empty):
    schema.migrate(empty)
    downgrade(empty)
    assert set(inspect(empty.engine).get_table_names()) <= {"alembic_version"}
    schema.migrate(empty)
    schema.check(empty)


def test_a_database_that_was_never_migrated_says_what_to_do(empty):
    with pytest.raises(SchemaOutdated, match="pathlane migrate"):
        schema.check(empty)
