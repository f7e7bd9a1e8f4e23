"""Changes: what has become of jobs, in the order in which it was written down. The audit is the source.

In: a moment, or the id of a change. Out: changes; ids, statuses and priorities, no text of a case. Rows of a
transaction that ended late appear late, and are given then; the same change may be given twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, Select, select

from worker.jobs.audit import Action
from worker.jobs.job import Status
from worker.jobs.request import Priority
from worker.store.audit import audit
from worker.store.job_rows import jobs
from worker.store.session import Database, clock

#: what a job is after a deed; a deed that is not here changes nothing that a list shows. None: as it was
BECOMES: Final[dict[Action, Status | None]] = {
    Action.SUBMITTED: Status.QUEUED,
    Action.CLAIMED: Status.RUNNING,
    Action.RELEASED: Status.QUEUED,
    Action.RETURNED: Status.QUEUED,
    Action.CANCEL_ASKED: Status.RUNNING,
    Action.FINISHED: Status.SUCCEEDED,
    Action.FAILED: Status.FAILED,
    Action.CANCELLED: Status.CANCELLED,
    Action.REVIEWED: None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    #: of the audit's row
    id: str
    at: datetime
    job_id: str
    action: Action
    status: Status
    priority: Priority
    attempt: int


class Changes:
    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> datetime:
        with self._database.read() as connection:
            return connection.execute(select(clock())).scalar_one()

    def since(self, at: datetime, *, limit: int, job_id: str = "") -> list[Change]:
        """From then on, the oldest first; of one job, if it is named."""
        query = _query().where(audit.c.at >= at).order_by(audit.c.at, audit.c.id).limit(limit)
        if job_id:
            query = query.where(audit.c.job_id == job_id)
        with self._database.read() as connection:
            return [_change(row) for row in connection.execute(query)]

    def after(
        self, change_id: str, *, limit: int, job_id: str = "", overlap_seconds: float
    ) -> list[Change] | None:
        """What followed that change, and what was written within `overlap_seconds` before it.

        None: there is no such change, or more than `limit` followed.
        """
        with self._database.read() as connection:
            at = connection.execute(select(audit.c.at).where(audit.c.id == change_id)).scalar_one_or_none()
        if at is None:
            return None
        found = self.since(at - timedelta(seconds=overlap_seconds), limit=limit + 1, job_id=job_id)
        return None if len(found) > limit else [change for change in found if change.id != change_id]

    def latest(self, job_id: str) -> Change | None:
        """A job's last change; None: there is no such job."""
        query = _query().where(audit.c.job_id == job_id)
        query = query.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _change(row)


def _query() -> Select[Any]:
    return (
        select(
            audit.c.id, audit.c.at, audit.c.job_id, audit.c.action, audit.c.attempt, jobs.c.status,
            jobs.c.asked_level,
        )
        .join(jobs, jobs.c.id == audit.c.job_id)
        .where(audit.c.action.in_(list(BECOMES)))
    )  # fmt: skip


def _change(row: Row[Any]) -> Change:
    action = Action(row.action)
    return Change(
        id=row.id, at=row.at, job_id=row.job_id, action=action, status=BECOMES[action] or Status(row.status),
        priority=tuple(Priority)[row.asked_level], attempt=row.attempt or 0,
    )  # fmt: skip
