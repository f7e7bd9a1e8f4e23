"""A deep queue, made by SQL, and how the database goes about a claim.

In: how many queued jobs, and how many of them wait out a pause at the front. Out: rows, without a submission
for each; the plan of the very statement that a claim sends.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, event, text

from tests.builders import a_request
from worker.store.jobs import Jobs
from worker.store.session import Database

_NUMBERS = {
    True: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)",
    False: "WITH n(i) AS (SELECT generate_series(1, :count))",
}
#: a moment so many seconds from now, as each database keeps it
_MOMENT = {
    True: "strftime('%Y-%m-%d %H:%M:%f', 'now', ({}) || ' seconds') || '000'",
    False: "clock_timestamp() + make_interval(secs => {})",
}
_FAR = {True: "'9999-12-31 00:00:00.000000'", False: "timestamptz '9999-12-31 00:00:00+00'"}
_FALSE = {True: "0", False: "false"}
_COLUMNS = (
    "id, status, level, due_order, created_at, not_before, attempt, alone, cancel_requested, submitter, request, "
    "request_digest"
)


def fill(database: Database, count: int, *, pausing: bool = False) -> None:
    """So many queued jobs: one in a hundred is STAT, ten are urgent.

    If `pausing`, all are STAT that was tried before and may not be claimed for an hour: the front of the queue.
    """
    kind = database.is_sqlite
    level = "0" if pausing else "CASE WHEN i % 100 = 0 THEN 0 WHEN i % 100 <= 10 THEN 1 ELSE 2 END"
    tried, prefix = ("1", "paused") if pausing else ("0", "deep")
    age = "-86400 - i * 0.001" if pausing else "-i * 0.001"
    created = _MOMENT[kind].format(age)
    not_before = _MOMENT[kind].format("3600") if pausing else created
    request = "CAST(:request AS jsonb)" if not kind else ":request"
    rows = (
        f"{_NUMBERS[kind]} INSERT INTO jobs ({_COLUMNS}) SELECT 'job_{prefix}' || i, 'queued', {level}, {_FAR[kind]}, "
        f"{created}, {not_before}, {tried}, {_FALSE[kind]}, {_FALSE[kind]}, 'lab', {request}, 'sha256:00' FROM n"
    )
    if kind:  # SQLite wants the columns before the WITH
        rows = f"INSERT INTO jobs ({_COLUMNS}) {rows.replace(f'INSERT INTO jobs ({_COLUMNS}) ', '')}"
    with database.patiently() as connection:
        body = json.dumps(a_request().model_dump(mode="json"))
        connection.execute(text(rows), {"count": count, "request": body})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE jobs" if kind else "VACUUM ANALYZE jobs")


def plan_of_a_claim(database: Database) -> str:
    """EXPLAIN of what `Jobs.claim` sends first, with its own parameters. A job is claimed on the way."""
    sent: list[tuple[str, Any]] = []

    def overhear(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "UPDATE jobs" in statement:
            sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", overhear)
    try:
        Jobs(database).claim(worker_id="w", lease_seconds=30)
    finally:
        event.remove(database.engine, "before_cursor_execute", overhear)
    statement, parameters = sent[0]
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    with database.read() as connection:
        rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    return "\n".join(str(row[-1]) for row in rows)
