"""Changes of one job that are written down as they are made: the change and its row of the audit.

In: an UPDATE that gives back the job's id and attempt, made once. Out: the row it changed, if any. PostgreSQL
does both in one statement, and so in one round trip; SQLite, which knows no statement for two tables, in two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Text, bindparam, insert, select
from sqlalchemy.sql.dml import ReturningUpdate
from ulid import ULID

from worker.jobs.audit import Action
from worker.store.audit import audit, note
from worker.store.session import clock


class NotedChange:
    """Made once and executed often: it is compiled once, and PostgreSQL plans it once a connection."""

    def __init__(self, change: ReturningUpdate[Any]) -> None:
        self._change = change
        self._with_note = _with_note(change)

    def execute(
        self,
        connection: Connection,
        values: dict[str, Any],
        *,
        action: Action,
        actor: str,
        code: str | None = None,
    ) -> Row[Any] | None:
        """`values` are the parameters of the UPDATE."""
        if connection.dialect.name == "postgresql":
            said = {"note_id": f"audit_{ULID()}", "actor": actor, "action": action.value, "note_code": code}
            return connection.execute(self._with_note, values | said).one_or_none()
        row = connection.execute(self._change, values).one_or_none()
        if row is not None:
            note(connection, action, actor=actor, job_id=row.id, attempt=row.attempt, code=code)
        return row


def _with_note(change: ReturningUpdate[Any]) -> Select[Any]:
    changed = change.cte("changed")
    row: dict[str, ColumnElement[Any]] = {
        "id": bindparam("note_id", type_=Text), "at": clock(), "actor": bindparam("actor", type_=Text),
        "action": bindparam("action", type_=Text), "job_id": changed.c.id, "attempt": changed.c.attempt,
        "code": bindparam("note_code", type_=Text),
    }  # fmt: skip
    noted = insert(audit).from_select(list(row), select(*row.values())).cte("noted")
    return select(changed).add_cte(noted)
