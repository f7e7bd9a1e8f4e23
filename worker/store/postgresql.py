"""PostgreSQL over a network that may fall silent: neither side waits for the other without end.

In: how long an answer may take. Out: connections that are closed when it takes longer, on a server that lets
go of what a vanished client held. Without this a reply that is lost on its way (a firewall that forgets, a
host that loses its power) stops a thread for ever, and keeps its row locked for hours (docs/decisions/0008).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.waiting import Ready

#: libpq's half: what is idle stays known to firewalls, and a dead host is noticed (seconds)
CONNECT: Final[dict[str, Any]] = {
    "connect_timeout": 5, "keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3,
}  # fmt: skip
#: the server's half, beside the two limits below (seconds, except the count); ignored on a unix socket
KEEPALIVE: Final = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}


class PatientConnection(psycopg.Connection[Any]):
    """Waits `answer_seconds` for each answer; then it is closed, and the error is an OperationalError."""

    answer_seconds: float = float("inf")

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **named: Any) -> Any:
        return super().wait(self._limited(gen), *arguments, **named)

    def _limited(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """`steps`, until the time is up. psycopg sends NONE ten times a second while nothing comes."""
        end = time.monotonic() + self.answer_seconds
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if ready == Ready.NONE and time.monotonic() >= end:
                    self.close()
                    raise psycopg.OperationalError("the server did not answer in time")
                wanted = steps.send(ready)
        except StopIteration as last:
            return last.value


def connected(arguments: Any, parameters: Any, *, answer_seconds: float) -> PatientConnection:
    """A connection whose session ends its own statements, and its own silence, in the same time."""
    connection = PatientConnection.connect(*arguments, **parameters)
    connection.answer_seconds = answer_seconds
    limit = f"{round(answer_seconds * 1000)}ms"
    session = {"statement_timeout": limit, "idle_in_transaction_session_timeout": limit} | KEEPALIVE
    try:
        connection.autocommit = True
        # Not as `options` of the connection, which PgBouncer refuses; and all in one round trip.
        settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in session.items())
        connection.execute(f"SELECT {settings}".encode())
        connection.autocommit = False
    except psycopg.Error:
        connection.close()
        raise
    return connection


@contextmanager
def without_limit(connection: Any) -> Iterator[None]:
    """For a PatientConnection whose statement may take long: its keepalives alone watch over the network."""
    limit, connection.answer_seconds = connection.answer_seconds, float("inf")
    try:
        yield
    finally:
        connection.answer_seconds = limit
