"""API keys: who may do what, until when. Only digests are kept.

In: a name, or a key somebody showed. Out: a new key (once), or whose it is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from worker.errors import NotFound
from worker.jobs.audit import UNNAMED, Action
from worker.jobs.scope import Scope
from worker.store.audit import note
from worker.store.session import Database, clock
from worker.store.tables import ApiKeyRow

api_keys = cast("Table", ApiKeyRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None
    scopes: frozenset[Scope] = frozenset(Scope)
    #: from then on it opens nothing; None: it does not end
    expires_at: datetime | None = None

    @property
    def actor(self) -> str:
        """As the audit names it: several keys may have one name."""
        return f"key:{self.name}:{self.id}"


class Keys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, name: str, key: str, *, scopes: Collection[Scope] = tuple(Scope),
        expires_at: datetime | None = None, actor: str = UNNAMED,
    ) -> ApiKey:  # fmt: skip
        """Let `key` in from now on, as `name`. Adding the same key again changes nothing."""
        row = {
            "id": f"key_{ULID()}", "name": name, "digest": _digest(key), "created_at": clock(),
            "scopes": [scope.value for scope in Scope if scope in scopes], "expires_at": expires_at,
        }  # fmt: skip
        with self._database.write() as connection:
            known = connection.execute(
                select(api_keys).where(api_keys.c.digest == row["digest"])
            ).one_or_none()
            if known is not None:
                return api_key_of(known)
            note(connection, Action.KEY_ADDED, actor=actor, subject_id=row["id"])
            return api_key_of(connection.execute(insert(api_keys).values(row).returning(api_keys)).one())

    def vouched(
        self, identity: str, name: str, *, scopes: Collection[Scope], seconds: float
    ) -> ApiKey | None:
        """The key of a person whom somebody else vouches for, as of now; None: it was revoked here.

        Nobody can show it: what stands in place of its digest is no digest of anything.
        """
        digest = f"person:{identity}"
        now = {
            "name": name, "scopes": [scope.value for scope in Scope if scope in scopes],
            "expires_at": clock(seconds),
        }  # fmt: skip
        try:
            with self._database.write() as connection:
                return _renewed(connection, digest, now) or _added(connection, digest, now)
        except IntegrityError:  # there already: revoked, or first seen by another gateway at this moment
            with self._database.write() as connection:
                return _renewed(connection, digest, now)

    def shown(self, key: str) -> ApiKey | None:
        """The key that somebody showed; None for one that is unknown, revoked or has come to its end.

        The look-up is by the digest of 256 random bits, so its timing tells nothing about a key; the digest
        that was found is compared once more, in constant time, so that no collation or index decides.
        """
        digest = _digest(key)
        query = select(api_keys).where(api_keys.c.digest == digest, *opens())
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or not hmac.compare_digest(row.digest, digest):
            return None
        return api_key_of(row)

    def all(self) -> list[ApiKey]:
        query = select(api_keys).order_by(api_keys.c.created_at)
        with self._database.read() as connection:
            return [api_key_of(row) for row in connection.execute(query)]

    def revoke(self, key_id: str, *, actor: str = UNNAMED) -> None:
        """Raises NotFound."""
        revoked = update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=clock())
        with self._database.write() as connection:
            if connection.execute(revoked.returning(api_keys.c.id)).one_or_none() is None:
                raise NotFound
            note(connection, Action.KEY_REVOKED, actor=actor, subject_id=key_id)


def _renewed(connection: Connection, digest: str, now: dict[str, Any]) -> ApiKey | None:
    query = update(api_keys).where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
    row = connection.execute(query.values(now).returning(api_keys)).one_or_none()
    return None if row is None else api_key_of(row)


def _added(connection: Connection, digest: str, now: dict[str, Any]) -> ApiKey:
    """Raises IntegrityError where it is there."""
    row = {"id": f"key_{ULID()}", "digest": digest, "created_at": clock()} | now
    key = api_key_of(connection.execute(insert(api_keys).values(row).returning(api_keys)).one())
    note(connection, Action.KEY_ADDED, actor=key.actor, subject_id=key.id)
    return key


def opens() -> tuple[Any, ...]:
    """What must hold for a key to open anything: it is neither revoked nor at its end."""
    return api_keys.c.revoked_at.is_(None), or_(
        api_keys.c.expires_at.is_(None), api_keys.c.expires_at > clock()
    )


def api_key_of(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id, name=row.name, created_at=row.created_at, revoked_at=row.revoked_at,
        scopes=frozenset(map(Scope, row.scopes)), expires_at=row.expires_at,
    )  # fmt: skip


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
