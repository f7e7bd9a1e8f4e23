"""Passes: who is signed in to the console. A link opens once and becomes a session; that stands for a key.

In: keys, and random words that the caller makes. Out: the key a session stands for, as long as both are good.
Only digests are kept, so that nobody who reads the table is signed in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, insert, select

from worker.jobs.audit import UNNAMED, Action
from worker.store.audit import note
from worker.store.keys import ApiKey, api_key_of, api_keys, opens
from worker.store.session import Database, clock
from worker.store.tables import PassRow

passes = cast("Table", PassRow.__table__)


class Kind(StrEnum):
    LINK = "link"  #: opens once
    SESSION = "session"  #: shown with every request, until it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    #: of the pass: what its requests are counted under
    id: str
    key: ApiKey
    expires_at: datetime


class Passes:
    def __init__(self, database: Database) -> None:
        self._database = database

    def link(self, key_id: str, word: str, *, seconds: float, actor: str = UNNAMED) -> None:
        """From now on `word` opens one session of this key, once."""
        with self._database.write() as connection:
            _forget(connection)
            _add(connection, Kind.LINK, key_id, word, seconds)
            note(connection, Action.LINK_MADE, actor=actor, subject_id=key_id)

    def open(self, key: ApiKey, word: str, *, seconds: float) -> Session:
        """A session that `word` stands for, of a key that was shown."""
        with self._database.write() as connection:
            _forget(connection)
            return _opened(connection, key, word, seconds)

    def redeem(self, link: str, word: str, *, seconds: float) -> Session | None:
        """A session instead of a link. None: it was used before, is too old, or its key opens nothing."""
        taken = delete(passes).where(*_good(Kind.LINK, link)).returning(passes.c.key_id)
        with self._database.write() as connection:
            key_id = connection.execute(taken).scalar_one_or_none()
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id, *opens())).one_or_none()
            return None if row is None else _opened(connection, api_key_of(row), word, seconds)

    def shown(self, word: str) -> Session | None:
        """The session that somebody showed; None where it has ended, or its key has."""
        query = (
            select(api_keys, passes.c.id.label("pass_id"), passes.c.expires_at.label("until"))
            .join(passes, passes.c.key_id == api_keys.c.id)
            .where(*_good(Kind.SESSION, word), *opens())
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Session(id=row.pass_id, key=api_key_of(row), expires_at=row.until)

    def close(self, word: str) -> None:
        """The session ends now; nothing happens where there is none."""
        ended = delete(passes).where(*_good(Kind.SESSION, word)).returning(passes.c.key_id)
        with self._database.write() as connection:
            key_id = connection.execute(ended).scalar_one_or_none()
            if key_id is not None:
                actor = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one()
                note(connection, Action.SIGNED_OUT, actor=api_key_of(actor).actor, subject_id=key_id)


def _opened(connection: Connection, key: ApiKey, word: str, seconds: float) -> Session:
    expires_at = _add(connection, Kind.SESSION, key.id, word, seconds)
    note(connection, Action.SIGNED_IN, actor=key.actor, subject_id=key.id)
    return Session(id=_digest(word), key=key, expires_at=expires_at)


def _add(connection: Connection, kind: Kind, key_id: str, word: str, seconds: float) -> datetime:
    row = {
        "id": _digest(word), "kind": kind.value, "key_id": key_id, "created_at": clock(),
        "expires_at": clock(seconds),
    }  # fmt: skip
    added = insert(passes).values(row).returning(passes.c.expires_at)
    return cast("datetime", connection.execute(added).scalar_one())


def _good(kind: Kind, word: str) -> tuple[Any, ...]:
    """The word itself is 256 random bits: how long a look-up takes tells nothing of others."""
    return passes.c.id == _digest(word), passes.c.kind == kind.value, passes.c.expires_at > clock()


def _forget(connection: Connection) -> None:
    connection.execute(delete(passes).where(passes.c.expires_at <= clock()))


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
