"""Pending rows: written together, many at a time, at the end of a transaction.

In: rows of new things, in any order. Out: one statement for each table, in the order that their references
need. It knows no case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert

Row = dict[str, Any]


class Pending:
    def __init__(self, connection: Connection, tables: Sequence[Table]) -> None:
        """`tables`: those that others refer to come first."""
        self._connection = connection
        self._rows: dict[Table, list[Row]] = {table: [] for table in tables}

    def add(self, table: Table, row: Row) -> None:
        """`row` may still change until it is written."""
        self._rows[table].append(row)

    def write(self) -> None:
        for table, rows in self._rows.items():
            if rows:
                self._connection.execute(insert(table), rows)
                rows.clear()
