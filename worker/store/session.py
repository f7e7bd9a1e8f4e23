"""The database: one engine, transactions, and the database's own clock.

In: a URL (PostgreSQL by psycopg 3, or SQLite). Out: connections inside a transaction. Errors of the
driver become StoreUnavailable here, so that no other room knows SQLAlchemy's exceptions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Dialect, Double, Engine, create_engine, event, literal
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import DateTime, TypeDecorator

from worker.errors import StoreUnavailable
from worker.store import postgresql

_READ_ONLY = "pathlane_read_only"
_USED_AT = "pathlane_used_at"
_AUTOCOMMIT: Final = {"isolation_level": "AUTOCOMMIT"}
#: a connection that was used so recently is not asked whether it is still alive
FRESH_SECONDS = 1.0
#: SQLSTATE of a PostgreSQL that has become a standby; psycopg counts it among the programmer's errors
READ_ONLY_TRANSACTION = "25006"
#: how long PostgreSQL may take for one answer: longer than its disk ever stalls, shorter than a lease
ANSWER_SECONDS = 10.0


class Instant(TypeDecorator[datetime]):
    """A moment in UTC: TIMESTAMPTZ in PostgreSQL, sortable text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class clock(FunctionElement[datetime]):  # noqa: N801  # reads as a function in SQL expressions
    """The database's time now, plus `seconds`. Leases never trust a worker's clock.

    The seconds are a parameter, so that a statement is compiled once.
    """

    type = Instant()
    inherit_cache = True

    def __init__(self, seconds: float | ColumnElement[float] = 0) -> None:
        super().__init__(seconds if isinstance(seconds, ColumnElement) else literal(float(seconds), Double()))


@compiles(clock, "postgresql")
def _postgresql_clock(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(clock, "sqlite")
def _sqlite_clock(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    # six digits, as SQLAlchemy writes them: SQLite compares these as text
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+f seconds', {seconds})) || '000')"


class Database:
    """One database and its pool of connections."""

    def __init__(self, url: str, *, pool_size: int = 10, answer_seconds: float = ANSWER_SECONDS) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        options: dict[str, Any] = (
            {"connect_args": {"timeout": 30, "check_same_thread": False}}
            if self.is_sqlite
            else {
                "connect_args": postgresql.CONNECT,
                "pool_timeout": answer_seconds,
            }
        )
        self.engine: Engine = create_engine(
            parsed, hide_parameters=True, pool_size=pool_size, max_overflow=pool_size, **options
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self._limit(answer_seconds)
            event.listen(self.engine, "checkin", _note_use)
            event.listen(self.engine, "checkout", partial(_ask_whether_alive, self.engine.dialect))
        #: every statement a transaction of its own; SQLite has no such mode here
        self._single = self.engine if self.is_sqlite else self.engine.execution_options(**_AUTOCOMMIT)

    def _limit(self, answer_seconds: float) -> None:
        def connect(_: Dialect, __: object, arguments: Any, parameters: Any) -> Any:
            return postgresql.connected(arguments, parameters, answer_seconds=answer_seconds)

        event.listen(self.engine, "do_connect", connect)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that changes something. Raises StoreUnavailable."""
        with _mapped(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def once(self) -> Iterator[Connection]:
        """As `write`, for one statement: PostgreSQL begins and commits with it, in the same round trip."""
        with _mapped(), self._single.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads; in SQLite it does not wait for writers."""
        with _mapped(), self.engine.connect().execution_options(**{_READ_ONLY: True}) as connection:
            yield connection

    @contextmanager
    def patiently(self, *, reads_only: bool = False) -> Iterator[Connection]:
        """As `write` or `read`, for what may take minutes: no answer is waited for in vain, only long."""
        with self.read() if reads_only else self.write() as connection:
            if self.is_sqlite:
                yield connection
                return
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            with postgresql.without_limit(connection.connection.driver_connection):
                yield connection

    def close(self) -> None:
        self.engine.dispose()


def _note_use(_: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _ask_whether_alive(dialect: Dialect, connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    """Before a connection is handed out again. One that was just used is not asked: that is a round trip."""
    if time.monotonic() - record.info.get(_USED_AT, time.monotonic()) < FRESH_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error  # the pool opens another, and trusts none of the old ones


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise StoreUnavailable from error
    except DBAPIError as error:
        if error.connection_invalidated or getattr(error.orig, "sqlstate", "") == READ_ONLY_TRANSACTION:
            raise StoreUnavailable from error
        raise


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that writes after reading fails at once with SQLITE_BUSY; waiting happens here.
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
