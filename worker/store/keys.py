"""API keys: who may submit and read. Only digests are kept.

In: a name, or a key somebody showed. Out: a new key (once), or the name it belongs to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, insert, select, update
from ulid import ULID

from worker.errors import NotFound
from worker.store.session import Database, clock
from worker.store.tables import ApiKeyRow

api_keys = cast("Table", ApiKeyRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


class Keys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, key: str) -> ApiKey:
        """Let `key` in from now on, as `name`. Adding the same key again changes nothing."""
        row = {"id": f"key_{ULID()}", "name": name, "digest": _digest(key), "created_at": clock()}
        with self._database.write() as connection:
            known = connection.execute(
                select(api_keys).where(api_keys.c.digest == row["digest"])
            ).one_or_none()
            found = known or connection.execute(insert(api_keys).values(row).returning(api_keys)).one()
            return ApiKey(
                id=found.id, name=found.name, created_at=found.created_at, revoked_at=found.revoked_at
            )

    def name_of(self, key: str) -> str | None:
        """Whose key this is; None for an unknown or revoked one.

        The look-up is by the digest of 256 random bits, so its timing tells nothing about a key.
        """
        query = select(api_keys.c.name).where(
            api_keys.c.digest == _digest(key), api_keys.c.revoked_at.is_(None)
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def all(self) -> list[ApiKey]:
        query = select(api_keys).order_by(api_keys.c.created_at)
        with self._database.read() as connection:
            return [
                ApiKey(id=row.id, name=row.name, created_at=row.created_at, revoked_at=row.revoked_at)
                for row in connection.execute(query)
            ]

    def revoke(self, key_id: str) -> None:
        """Raises NotFound."""
        revoked = update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=clock())
        with self._database.write() as connection:
            if connection.execute(revoked.returning(api_keys.c.id)).one_or_none() is None:
                raise NotFound


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
