"""Cases: where a reading stands in the light of its order, and what triage would have changed.

In: job ids. Out: standings and reports. It changes nothing; orders change cases at the desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from worker.jobs.job import Status
from worker.jobs.order import Mode, Order, Question, order_of, question_of
from worker.jobs.reading import Reading
from worker.jobs.request import Priority
from worker.store.desk import CLOSED, asks, cases
from worker.store.job_rows import jobs
from worker.store.readings import reading_of, readings
from worker.store.sealing import Seal
from worker.store.session import Database


class Validity(StrEnum):
    """Whether a reading may still be told."""

    CURRENT = "current"
    SUPERSEDED = "superseded"  #: a newer reading answers the same question about the same slide
    STALE = "stale"  #: its image or its order was withdrawn
    CLOSED = "closed"  #: the case was signed out


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Standing:
    """What a channel needs besides the reading."""

    validity: Validity
    order: Order
    question: Question
    #: the job whose reading this one replaces
    supersedes: str | None
    observed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Asked:
    """One question and what came of it, for a report."""

    case_id: str
    job_id: str | None
    status: Status | None
    mode: Mode
    #: the lab's own priority
    ordered: Priority
    question: Question
    reading: Reading | None
    asked_at: datetime
    finished_at: datetime | None
    final_report: str


class Cases:
    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    def standing(self, job_id: str) -> Standing | None:
        """None: the job did not come from an order."""
        query = select(asks, cases, jobs.c.finished_at).join(cases).join(jobs).where(asks.c.job_id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            others = self._answered(connection, row[asks.c.case_id], row[asks.c.protocol], row[asks.c.name])
            before = [other.job_id for other in others if other.id < row[asks.c.id]]
            after = any(other.id > row[asks.c.id] for other in others)
        return Standing(
            validity=_validity(row, superseded=after),
            order=order_of(self._seal.open_json(row[cases.c.sealed])),
            question=question_of(row[asks.c.question]),
            supersedes=before[-1] if before else None,
            observed_at=row[jobs.c.finished_at],
        )

    def _answered(self, connection: Connection, case_id: str, protocol: str, name: str) -> Sequence[Row[Any]]:
        """Readings of one question about one slide, the oldest first, whatever the protocol's version."""
        family = protocol.rpartition("/")[0]
        query: Select[Any] = (
            select(asks.c.id, asks.c.job_id)
            .join(jobs)
            .where(asks.c.case_id == case_id, asks.c.name == name, jobs.c.status == Status.SUCCEEDED)
            .where(asks.c.protocol.startswith(f"{family}/", autoescape=True))
        )
        return connection.execute(query.order_by(asks.c.id)).all()

    def asked(self, *, since: datetime) -> list[Asked]:
        """Every question since then, the oldest first."""
        query = (
            select(asks, cases.c.sealed, jobs.c.status, jobs.c.finished_at)
            .join(cases)
            .outerjoin(jobs, asks.c.job_id == jobs.c.id)
            .where(asks.c.created_at >= since)
        )
        answered = select(readings).join(asks, asks.c.job_id == readings.c.job_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(asks.c.id)).all()
            found = connection.execute(answered.where(asks.c.created_at >= since)).all()
        readings_of = {row.job_id: reading_of(row) for row in found}
        return [self._asked(row, readings_of.get(row.job_id)) for row in rows]

    def _asked(self, row: Row[Any], reading: Reading | None) -> Asked:
        return Asked(
            case_id=row.case_id, job_id=row.job_id, status=Status(row.status) if row.status else None,
            mode=Mode(row.mode), ordered=Priority(row.ordered), question=question_of(row.question),
            reading=reading, asked_at=row.created_at, finished_at=row.finished_at,
            final_report=order_of(self._seal.open_json(row.sealed)).final_report,
        )  # fmt: skip


def _validity(row: Any, *, superseded: bool) -> Validity:
    if row[cases.c.status] == CLOSED:
        return Validity.CLOSED
    if row[asks.c.generation] < row[cases.c.generation]:
        return Validity.STALE
    return Validity.SUPERSEDED if superseded else Validity.CURRENT
