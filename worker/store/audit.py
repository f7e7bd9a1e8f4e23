"""The audit: who did what, written in the transaction that did it, and chained soon after.

In: actions and ids. Out: rows that are added and never changed, and the head of their chain. Rows are born
unchained, so that a thousand transactions a second need not wait for each other; whoever sweeps lays the
chain (docs/decisions/0011).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from ulid import ULID

from worker import log
from worker.jobs.audit import COLUMNS, UNNAMED, Action, Entry, Head, digest_of
from worker.store.session import Database, clock
from worker.store.tables import AuditHeadRow, AuditRow

#: rows of one transaction that chains
BATCH: Final = 1000
#: rows of one call: a few seconds of a busy house, and a second of work
MOST: Final = 20_000
#: a transaction may end so long after it wrote its row, and its row is still found at the next look
STRAGGLER_SECONDS: Final = 60.0
#: between two looks for stragglers later than that
WHOLE_SECONDS: Final = 600.0

audit = cast("Table", AuditRow.__table__)
heads = cast("Table", AuditHeadRow.__table__)

logger = log.get(__name__)

_NOTE: Final = insert(audit).values(at=clock())
_UNCHAINED: Final = audit.c.seq.is_(None)
_CHAIN: Final = (
    update(audit)
    .where(audit.c.id == bindparam("row_id"))
    .values(seq=bindparam("next_seq"), digest=bindparam("next_digest"))
)
_LAID: Final = (
    func.unnest(
        bindparam("ids", type_=ARRAY(Text)),
        bindparam("seqs", type_=ARRAY(BigInteger)),
        bindparam("digests", type_=ARRAY(LargeBinary)),
    )
    .table_valued("id", "seq", "digest")
    .render_derived()
)
#: the same for a thousand rows in one statement, in PostgreSQL
_CHAIN_ALL: Final = (
    update(audit).where(audit.c.id == _LAID.c.id).values(seq=_LAID.c.seq, digest=_LAID.c.digest)
)


def entry(action: Action, *, actor: str, **about: Any) -> dict[str, Any]:
    """A row without its time. `about` are columns of AuditRow: ids, `attempt`, `code`, `sealed`."""
    columns = dict.fromkeys(COLUMNS) | about
    del columns["at"]
    return columns | {"id": f"audit_{ULID()}", "actor": actor, "action": action.value}


def note(connection: Connection, action: Action, *, actor: str, **about: Any) -> None:
    """Write a row down, in the caller's transaction, at the database's time."""
    connection.execute(_NOTE, entry(action, actor=actor, **about))


def note_all(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Many `entry`s at once."""
    if rows:
        connection.execute(_NOTE, rows)


def plain_columns(*, is_sqlite: bool) -> list[ColumnElement[Any]]:
    """COLUMNS as the database has them: no type of ours stumbles over what somebody put there by hand."""
    utc = "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    at = "at" if is_sqlite else utc
    return [literal_column(at if name == "at" else name).label(name) for name in COLUMNS]


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database
        #: when a look found all that waited, and when one looked at everything, by time.monotonic
        self._caught_up: float | None = None
        self._whole = float("-inf")

    def chain(self, *, limit: int = MOST) -> int:
        """Give unchained rows their place and digest, the oldest first; gives how many got one.

        One process at a time does it; for others there is nothing to do meanwhile. The new head is logged: a
        log that is kept elsewhere holds what nobody can recompute here.
        """
        begun, count, head = time.monotonic(), 0, None
        waiting = self._waiting(begun)
        while count < limit:
            asked = min(BATCH, limit - count)
            laid = self._chain(waiting.limit(asked))
            if laid is None:
                break
            count, head = count + laid[0], laid[1] or head
            if laid[0] < asked:
                self._caught_up = begun
                break
        if head is not None:
            logger.info("audit.chained", seq=head.seq, digest=head.digest.hex(), count=count)
        return count

    def _waiting(self, now: float) -> Select[Any]:
        """Unchained rows. Older ones were chained before: PostgreSQL would step over what is left of each."""
        waiting = select(*plain_columns(is_sqlite=self._database.is_sqlite)).select_from(audit)
        waiting = waiting.where(_UNCHAINED).order_by(audit.c.at, audit.c.id)
        if self._caught_up is None or now - self._whole >= WHOLE_SECONDS:
            self._whole = now
            return waiting
        return waiting.where(audit.c.at >= clock(self._caught_up - now - STRAGGLER_SECONDS))

    def _chain(self, waiting: Select[Any]) -> tuple[int, Head | None] | None:
        """How many, and the new head. None: another process is at it."""
        with self._database.read() as connection:  # in SQLite a look costs nobody the lock
            if connection.execute(waiting.limit(1)).first() is None:
                return 0, None
        with self._database.write() as connection:
            locked = select(heads).where(heads.c.id == 1).with_for_update(skip_locked=True)
            before = connection.execute(locked).one_or_none()
            if before is None:
                return None
            rows = connection.execute(waiting).all()
            return _lay(connection, Head(before.seq, before.digest), rows) if rows else (0, None)

    def head(self) -> Head | None:
        """The last chained row. None: the head is not where it belongs."""
        with self._database.read() as connection:
            row = connection.execute(select(heads).where(heads.c.id == 1)).one_or_none()
        return None if row is None else Head(row.seq, row.digest)

    def hand_out(self, job_ids: Sequence[str], *, actor: str = UNNAMED) -> None:
        """Write down that `actor` is given these jobs' readings. Raises StoreUnavailable: then nobody is."""
        with self._database.write() as connection:
            note_all(connection, [entry(Action.READ, actor=actor, job_id=job_id) for job_id in job_ids])

    def list_out(self, count: int, *, actor: str = UNNAMED) -> None:
        """Write down that `actor` is given a page with `count` answers. Raises StoreUnavailable, as above."""
        with self._database.write() as connection:
            note(connection, Action.LISTED, actor=actor, code=f"answers {count}")

    def of_job(self, job_id: str) -> list[Entry]:
        """Everything about one job, the oldest first."""
        query = _entries().where(audit.c.job_id == job_id).order_by(audit.c.at, audit.c.id)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def since(self, since: datetime, *, actions: Sequence[str] = (), page: int = 1000) -> Iterator[Entry]:
        """Everything since then, the oldest first, a page at a time."""
        query = _entries().where(audit.c.action.in_(actions)) if actions else _entries()
        query = query.order_by(audit.c.at, audit.c.id).limit(page)
        after = audit.c.at >= since
        while True:
            with self._database.read() as connection:
                found = [_entry(row) for row in connection.execute(query.where(after))]
            yield from found
            if len(found) < page:
                return
            last = found[-1]
            after = tuple_(audit.c.at, audit.c.id) > (last.at, last.id)


def _lay(connection: Connection, head: Head, rows: Sequence[Row[Any]]) -> tuple[int, Head]:
    ids, seqs, digests = [row.id for row in rows], range(head.seq + 1, head.seq + len(rows) + 1), []
    for seq, row in zip(seqs, rows, strict=True):
        head = Head(seq, digest_of(head.digest, seq, row))
        digests.append(head.digest)
    if connection.dialect.name == "postgresql":
        connection.execute(_CHAIN_ALL, {"ids": ids, "seqs": [*seqs], "digests": digests})
    else:
        names = ("row_id", "next_seq", "next_digest")
        laid = zip(ids, seqs, digests, strict=True)
        connection.execute(_CHAIN, [dict(zip(names, row, strict=True)) for row in laid])
    connection.execute(update(heads).where(heads.c.id == 1).values(seq=head.seq, digest=head.digest))
    return len(rows), head


def _entries() -> Select[Any]:
    return select(*(audit.c[name] for name in Entry.__dataclass_fields__))


def _entry(row: Row[Any]) -> Entry:
    return Entry(**row._mapping)  # noqa: SLF001  a public name in spite of its dash


def count_unchained(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(audit).where(_UNCHAINED)).scalar_one()
