"""Bookmarks: how far a reader of somebody else's list has come.

In: a name and a small JSON value. Out: the value that was kept last. What it means is its reader's business.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Table, insert, select, update

from worker.store.hospital_tables import BookmarkRow
from worker.store.session import Database

bookmarks = cast("Table", BookmarkRow.__table__)


class Bookmarks:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> dict[str, Any]:
        """Empty where there is none."""
        with self._database.read() as connection:
            value = connection.execute(
                select(bookmarks.c.value).where(bookmarks.c.name == name)
            ).scalar_one_or_none()
        return dict(value or {})

    def put(self, name: str, value: dict[str, Any]) -> None:
        with self._database.write() as connection:
            changed = update(bookmarks).where(bookmarks.c.name == name).values(value=value)
            if not connection.execute(changed).rowcount:
                connection.execute(insert(bookmarks).values(name=name, value=value))
