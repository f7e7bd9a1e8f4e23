"""Verification: whether the audit is what was written, as far as that can be known from here.

In: a database, and anchors that were kept elsewhere. Out: findings, one sentence each, with ids only. It
changes nothing, trusts no trigger, and reads a page at a time, so that a large audit needs little memory and
holds nobody up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, case, exists, literal, or_, select

from worker.jobs.audit import END_OF, START, Action, Head, digest_of
from worker.jobs.event import DeliveryStatus
from worker.jobs.job import TERMINAL
from worker.store.audit import Audit, audit, count_unchained, heads, plain_columns
from worker.store.due import deliveries
from worker.store.job_rows import jobs
from worker.store.session import Database

PAGE: Final = 5000
#: findings of each sort; whoever has a hundred knows enough
MOST: Final = 100


class Kind(StrEnum):
    """What is wrong."""

    CHANGED = "changed"  #: a row does not fit the row before it
    MISSING = "missing"  #: a number in the chain is gone
    DOUBLED = "doubled"  #: two rows have one number
    CUT_OFF = "cut off"  #: the chain ends before its head, or before an anchor
    HEAD = "head"  #: the head is gone, or is not the digest of the last row
    BEYOND = "beyond"  #: a row is numbered, and no chain comes to it
    ANCHOR = "anchor"  #: the chain was laid anew after an anchor was taken
    UNRECORDED = "unrecorded"  #: something happened and has no row


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    kind: Kind
    #: one sentence; ids and numbers only
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    #: the head when it began; None when there is none
    head: Head | None
    #: rows that wait to be chained: their content is not proven yet
    unchained: int
    findings: tuple[Finding, ...]


def verify(
    database: Database, *, anchors: Iterable[Head] = (), progress: Callable[[int], None] = lambda _: None
) -> Report:
    """`progress` hears the number of the last row that was looked at."""
    head = Audit(database).head()
    if head is None:
        gone = Finding(kind=Kind.HEAD, text="The head of the chain is gone.")
        return Report(head=None, unchained=0, findings=(gone, *_unrecorded(database)))
    walk = _Walk(anchors=frozenset(anchors))
    found = [*islice(walk.findings(_pages(database, head.seq, progress), head), MOST)]
    found += [*_beyond(database), *_unrecorded(database)]
    with database.read() as connection:
        unchained = count_unchained(connection)
    return Report(head=head, unchained=unchained, findings=tuple(found))


def _pages(database: Database, last: int, progress: Callable[[int], None]) -> Iterator[Sequence[Row[Any]]]:
    """Chained rows up to `last`. They never change, so each page may be a transaction of its own."""
    columns = plain_columns(is_sqlite=database.is_sqlite)
    query = select(audit.c.seq, audit.c.digest, *columns).order_by(audit.c.seq, audit.c.id)
    for begin in range(1, last + 1, PAGE):
        end = min(begin + PAGE - 1, last)
        with database.read() as connection:
            yield connection.execute(query.where(audit.c.seq.between(begin, end))).all()
        progress(end)


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Along the chain. After a break it goes on from the digest that stands there, so each is found once."""

    anchors: frozenset[Head]
    #: the last row that was seen; its digest is unknown after a gap
    seq: int = START.seq
    digest: bytes | None = START.digest

    def findings(self, pages: Iterable[Sequence[Row[Any]]], head: Head) -> Iterator[Finding]:
        for page in pages:
            for row in page:
                yield from self._step(row.seq, row.digest, row[2:])
        if self.seq < head.seq:
            yield _cut_off(f"Rows {self.seq + 1} to {head.seq} are gone: the end of the chain was cut off.")
        elif self.digest != head.digest:
            yield Finding(kind=Kind.HEAD, text=f"The head has another digest than row {head.seq}.")
        for last in sorted(anchor.seq for anchor in self.anchors if anchor.seq > head.seq):
            yield _cut_off(f"The chain ends at row {head.seq}, before the anchor of row {last}.")

    def _step(self, seq: int, digest: bytes, columns: Sequence[Any]) -> Iterator[Finding]:
        row_id = columns[0]
        if seq == self.seq:
            yield Finding(kind=Kind.DOUBLED, text=f"Row {seq} is there twice, once as {row_id}.")
            return
        if seq > self.seq + 1:
            yield _missing(self.seq + 1, seq - 1)
        elif self.digest is not None and digest_of(self.digest, seq, columns) != digest:
            text = f"Row {seq} ({row_id}) does not fit the row before it: one of the two was changed."
            yield Finding(kind=Kind.CHANGED, text=text)
        if any(anchor.seq == seq and anchor.digest != digest for anchor in self.anchors):
            text = f"Row {seq} ({row_id}) has another digest than its anchor: the chain was laid anew."
            yield Finding(kind=Kind.ANCHOR, text=text)
        self.seq, self.digest = seq, digest if isinstance(digest, bytes) else None


def _missing(first: int, last: int) -> Finding:
    text = f"Row {first} is missing." if first == last else f"Rows {first} to {last} are missing."
    return Finding(kind=Kind.MISSING, text=text)


def _cut_off(text: str) -> Finding:
    return Finding(kind=Kind.CUT_OFF, text=text)


def _beyond(database: Database) -> Iterator[Finding]:
    """Row and head in one look: meanwhile the chain goes on."""
    end = select(heads.c.seq).where(heads.c.id == 1).scalar_subquery()
    query = select(audit.c.seq, audit.c.id).where(or_(audit.c.seq < 1, audit.c.seq > end))
    with database.patiently(reads_only=True) as connection:
        rows = connection.execute(query.order_by(audit.c.seq).limit(MOST)).all()
    for seq, row_id in rows:
        yield Finding(
            kind=Kind.BEYOND, text=f"Row {seq} ({row_id}) has a number that the chain does not reach."
        )


def _unrecorded(database: Database) -> Iterator[Finding]:
    """What the other tables say and the audit does not: rows that were removed before they were chained."""
    for query, sentence in _CHECKS:
        with database.patiently(reads_only=True) as connection:
            rows = connection.execute(query.limit(MOST)).all()
        for row in rows:
            yield Finding(kind=Kind.UNRECORDED, text=sentence.format(*row))


def _no_row(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    return ~exists(select(literal(1)).select_from(audit).where(and_(*where)))


_END = case({status.value: action.value for status, action in END_OF.items()}, value=jobs.c.status)

_CHECKS: Final[tuple[tuple[Select[Any], str], ...]] = (
    (
        select(jobs.c.id)
        .where(_no_row(audit.c.job_id == jobs.c.id, audit.c.action == Action.SUBMITTED))
        .order_by(jobs.c.id),
        "{0} is a job, and nobody submitted it.",
    ),
    (
        select(jobs.c.id, jobs.c.status)
        .where(jobs.c.status.in_(sorted(TERMINAL)))
        .where(_no_row(audit.c.job_id == jobs.c.id, audit.c.action == _END,
                       audit.c.attempt == jobs.c.attempt))
        .order_by(jobs.c.id),
        "{0} is {1}, and its end is not written down.",
    ),
    (
        select(deliveries.c.id)
        .where(deliveries.c.status == DeliveryStatus.DELIVERED, deliveries.c.job_id.is_not(None))
        .where(_no_row(audit.c.job_id == deliveries.c.job_id, audit.c.delivery_id == deliveries.c.id,
                       audit.c.action == Action.DELIVERED))
        .order_by(deliveries.c.id),
        "{0} is delivered, and its delivery is not written down.",
    ),
)  # fmt: skip
