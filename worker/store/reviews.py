"""Reviews: what people say about readings. Rows are added and never changed.

In: verdicts. Out: reviews, and how many a job has. It does not touch the reading.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Connection, Row, Table, func, insert, select, tuple_
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from worker.errors import IdempotencyConflict, NoReading, NotFound
from worker.jobs.audit import Action
from worker.jobs.review import Review, Verdict
from worker.store.audit import note
from worker.store.job_rows import jobs
from worker.store.pages import Page, Position
from worker.store.readings import readings
from worker.store.session import Database, clock
from worker.store.tables import ReviewRow

reviews = cast("Table", ReviewRow.__table__)


class Reviews:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, job_id: str, verdict: Verdict, *, reviewer: str, comment: str = "",
        corrected_answer: str | None = None, idempotency_key: str | None = None,
    ) -> Review:  # fmt: skip
        """The same again under a key gives the review that is there.

        Raises NotFound, NoReading, and IdempotencyConflict: the key was used for another review.
        """
        said = {
            "job_id": job_id, "verdict": verdict.value, "comment": comment,
            "corrected_answer": corrected_answer, "reviewer": reviewer, "idempotency_key": idempotency_key,
        }  # fmt: skip
        try:
            with self._database.write() as connection:
                return _known(connection, said) or _add(connection, said)
        except IntegrityError:
            # Somebody else committed the same key between our look and our insert.
            with self._database.read() as connection:
                known = _known(connection, said)
            if known is None:
                raise
            return known

    def page(self, job_id: str, *, after: Position | None = None, limit: int) -> Page[Review]:
        """The oldest first. Raises NotFound."""
        query = select(reviews).where(reviews.c.job_id == job_id)
        if after is not None:
            query = query.where(tuple_(reviews.c.created_at, reviews.c.id) > (after.created_at, after.id))
        with self._database.read() as connection:
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first() is None:
                raise NotFound
            ordered = query.order_by(reviews.c.created_at, reviews.c.id).limit(limit + 1)
            rows = connection.execute(ordered).all()
        items = tuple(_review(row) for row in rows[:limit])
        end = Position(items[-1].created_at, items[-1].id) if len(rows) > limit else None
        return Page(items=items, end=end)

    def count(self, job_id: str) -> int:
        query = select(func.count()).select_from(reviews).where(reviews.c.job_id == job_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()


def _known(connection: Connection, said: dict[str, Any]) -> Review | None:
    if said["idempotency_key"] is None:
        return None
    same_key = [reviews.c[name] == said[name] for name in ("reviewer", "idempotency_key")]
    row = connection.execute(select(reviews).where(*same_key)).one_or_none()
    if row is None:
        return None
    if any(getattr(row, name) != value for name, value in said.items()):
        raise IdempotencyConflict
    return _review(row)


def _add(connection: Connection, said: dict[str, Any]) -> Review:
    job_id = said["job_id"]
    if connection.execute(select(readings.c.job_id).where(readings.c.job_id == job_id)).first() is None:
        known = connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first()
        raise NotFound if known is None else NoReading
    row = said | {"id": f"rev_{ULID()}", "created_at": clock()}
    added = _review(connection.execute(insert(reviews).values(row).returning(reviews)).one())
    note(connection, Action.REVIEWED, actor=said["reviewer"], job_id=job_id, subject_id=added.id)
    return added


def _review(row: Row[Any]) -> Review:
    return Review(
        id=row.id, job_id=row.job_id, created_at=row.created_at, reviewer=row.reviewer,
        verdict=Verdict(row.verdict), comment=row.comment, corrected_answer=row.corrected_answer,
    )  # fmt: skip
