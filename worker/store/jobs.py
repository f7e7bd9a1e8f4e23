"""Jobs in the database: submit, claim, renew, finish, fail, cancel, sweep.

In: requests, readings, errors. Out: Job values, what is to be rung, rows of the audit. Every write after a
claim is fenced by the attempt number: a worker that was given up changes nothing (LeaseLost).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Double,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    update,
)

from worker.errors import (
    AttemptsExhausted,
    InputError,
    LeaseLost,
    NotFound,
    PathlaneError,
    QueueFull,
)
from worker.jobs.audit import END_OF, SWEEP, UNNAMED, Action
from worker.jobs.job import ATTEMPTS_ALLOWED, Job, Status, backoff
from worker.jobs.reading import Reading, ReadingOutcome
from worker.jobs.request import JobRequest, Priority
from worker.jobs.trace import kept
from worker.store import outbox
from worker.store.audit import Audit, note
from worker.store.backlog import Backlog, Queue, depth, queue
from worker.store.base import stands
from worker.store.job_rows import job_of, jobs
from worker.store.noted import NotedChange
from worker.store.readings import add_reading, reading_of, reading_row, readings
from worker.store.session import Database, clock
from worker.store.submitting import Submission, Submissions, Submitter, Use, no_use

LIFTED = Priority.URGENT.level


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep found."""

    returned: int
    poisoned: int
    #: queued jobs that may be claimed now, counted up to the sweep's limit
    waiting: int
    #: ids of all whose lease had run out
    lost: tuple[str, ...]


class Jobs:
    def __init__(
        self,
        database: Database,
        *,
        public_url: str = "",
        queue_limit: int = 0,
        chance: Callable[[], float] = random.random,
        use: Use = no_use,
    ) -> None:
        """`use` is told of the references of a request before it is stored: `worker.uploads.use`."""
        self._database = database
        self._submissions = Submissions(database, Backlog(queue_limit), use)
        self._public_url = public_url
        self._chance = chance

    def submit(
        self,
        request: JobRequest,
        *,
        submitter: str,
        actor: str = "",
        is_limited: bool = True,
        traceparent: str | None = None,
    ) -> Submission:
        """Store a request as QUEUED. The same key and request again give the same job, also in a full queue.

        A `traceparent` (W3C Trace Context) that is not valid is left out.

        Raises IdempotencyConflict, InvalidRequest (a due time in the past), UnknownEndpoint, and QueueFull
        unless `is_limited` is False. The audit names `actor`, or else the submitter.
        """
        who = _submitter(submitter, actor, traceparent)
        return self._submissions.take(request, who, is_limited=is_limited)

    def submit_each(
        self,
        requests: Sequence[JobRequest],
        *,
        submitter: str,
        actor: str = "",
        traceparent: str | None = None,
    ) -> list[Submission | InputError | QueueFull]:
        """As `submit`, for many in one transaction: for each, what came of it."""
        who = _submitter(submitter, actor, traceparent)
        return self._submissions.take_each(requests, who)

    def rerun(
        self,
        job_id: str,
        *,
        submitter: str,
        actor: str = "",
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> Submission:
        """The same request as a new job, which names this one. Raises NotFound, NotEnded, and as `submit`.

        It joins the trace of whoever asks again, not the earlier job's.
        """
        who = _submitter(submitter, actor, traceparent)
        return self._submissions.take_again(job_id, who, idempotency_key=idempotency_key)

    def claim(
        self, *, worker_id: str, lease_seconds: float, at_least: Priority = Priority.ROUTINE
    ) -> Job | None:
        """The best queued job: STAT, urgent, routine; by due time, then age. None: none so urgent."""
        values = {"least": at_least.level, "worker": worker_id, "lease": lease_seconds}
        with self._database.once() as connection:
            row = _CLAIM.execute(connection, values, action=Action.CLAIMED, actor=f"worker:{worker_id}")
        return None if row is None else job_of(row)

    def renew(self, attempts: Sequence[tuple[str, int]], *, lease_seconds: float) -> dict[str, bool]:
        """Renew the leases of (job id, attempt); gives id -> whether its cancellation was asked for.

        An id that is missing from the answer was lost: its work no longer counts.
        """
        held: dict[str, bool] = {}
        with self._database.write() as connection:
            for job_id, attempt in attempts:
                row = connection.execute(
                    update(jobs).where(*_held(job_id, attempt)).values(lease_until=clock(lease_seconds))
                    .returning(jobs.c.cancel_requested)
                ).one_or_none()  # fmt: skip
                if row is not None:
                    held[job_id] = row.cancel_requested
        return held

    def cancellations(self, job_ids: Sequence[str]) -> set[str]:
        """Those among these running jobs whose askers have taken them back."""
        query = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.cancel_requested)
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def finish(self, job: Job, reading: Reading) -> list[str]:
        """SUCCEEDED (or CANCELLED), the reading and one delivery a subscriber, in one transaction.

        Gives the ids of the deliveries. Raises LeaseLost when the job is no longer this attempt's.
        """
        with self._database.write() as connection:
            cancelled = reading.outcome is ReadingOutcome.CANCELLED
            ended = _end(connection, job, Status.CANCELLED if cancelled else Status.SUCCEEDED)
            connection.execute(add_reading, reading_row(ended, reading))
            return outbox.tell(connection, ended, reading, public_url=self._public_url)

    def fail(self, job: Job, error: PathlaneError) -> list[str]:
        """Back to the queue after a retryable error while attempts are left, else FAILED and told.

        Gives the ids of the deliveries. Raises LeaseLost.
        """
        with self._database.write() as connection:
            if job.is_tried_again_after(error):
                wait = backoff(job.attempt, self._chance()).total_seconds()
                _requeue(connection, job, wait=wait, alone=job.alone, code=error.code)
                return []
            ended = _end(connection, job, Status.FAILED, error)
            return outbox.tell(connection, ended, None, public_url=self._public_url)

    def release(self, job: Job) -> None:
        """Back to the queue as if it had never been claimed: no attempt is used up, no pause is made.

        The attempt's number is given out again. Whoever releases must be sure that nobody writes for this
        attempt any more: there is no fence against its own past. Raises LeaseLost.
        """
        with self._database.write() as connection:
            row = connection.execute(
                update(jobs).where(*_held(job.id, job.attempt))
                .values(status=Status.QUEUED, attempt=job.attempt - 1, lease_until=None, worker_id=None)
                .returning(jobs.c.id)
            ).one_or_none()  # fmt: skip
            if row is None:
                raise LeaseLost
            note(connection, Action.RELEASED, actor=_holder(job), job_id=job.id, attempt=job.attempt)

    def suspect(self, job: Job) -> Status:
        """As if the lease had run out now: tried again alone, or poison, or cancelled. Raises LeaseLost."""
        with self._database.write() as connection:
            held = select(jobs).where(*_held(job.id, job.attempt)).with_for_update()
            row = connection.execute(held).one_or_none()
            if row is None:
                raise LeaseLost
            return self._give_up(connection, job_of(row), actor=_holder(job))

    def cancel(self, job_id: str, *, actor: str = UNNAMED) -> tuple[Job, list[str]]:
        """A queued job is CANCELLED at once; a running one is marked and its worker stops it.

        A job that has ended stays as it is. Raises NotFound.
        """
        with self._database.write() as connection:
            return cancel_job(connection, job_id, public_url=self._public_url, actor=actor)

    def sweep(self, *, patience_seconds: float, limit: int = 500) -> Sweep:
        """Return jobs whose lease ran out, fail poison, lift routine jobs that waited too long."""
        with self._database.write() as connection:
            lost = connection.execute(
                select(jobs)
                .where(stands(jobs.c.status, Status.RUNNING), jobs.c.lease_until < clock())
                .limit(limit).with_for_update(skip_locked=True)
            ).all()  # fmt: skip
            ends = [self._give_up(connection, job_of(row)) for row in lost]
            connection.execute(
                update(jobs)
                .where(stands(jobs.c.status, Status.QUEUED), jobs.c.level > LIFTED)
                .where(jobs.c.created_at < clock(-patience_seconds))
                .values(level=LIFTED)
            )
            waiting = connection.execute(
                select(func.count()).select_from(_claimable().limit(limit).subquery())
            )
            return Sweep(
                returned=ends.count(Status.QUEUED),
                poisoned=ends.count(Status.FAILED),
                waiting=waiting.scalar_one(),
                lost=tuple(row.id for row in lost),
            )

    def _give_up(self, connection: Connection, job: Job, *, actor: str = SWEEP) -> Status:
        """The lease of `job` ran out: cancelled if that was asked for, else tried again alone, or poison.

        At once: it has waited for a whole lease already, and what it may do to a worker the attempts bound.
        """
        if not job.cancel_requested and job.attempt < ATTEMPTS_ALLOWED:
            _requeue(connection, job, wait=0, alone=True, actor=actor)
            return Status.QUEUED
        status = Status.CANCELLED if job.cancel_requested else Status.FAILED
        error = None if job.cancel_requested else AttemptsExhausted()
        ended = _end(connection, job, status, error, actor=actor)
        outbox.tell(connection, ended, None, public_url=self._public_url)
        return status

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
        if row is None:
            raise NotFound
        return job_of(row)

    def reading(self, job_id: str) -> Reading | None:
        with self._database.read() as connection:
            row = connection.execute(select(readings).where(readings.c.job_id == job_id)).one_or_none()
        return None if row is None else reading_of(row)

    def hand_out(self, job_id: str, *, actor: str = UNNAMED) -> Reading | None:
        """The reading, for somebody outside: who gets it is written down first.

        Raises StoreUnavailable when it cannot be: then nobody gets it.
        """
        reading = self.reading(job_id)
        if reading is not None:
            Audit(self._database).hand_out([job_id], actor=actor)
        return reading

    def depth(self) -> dict[str, int]:
        """Queued and running jobs: `stat`, `urgent`, `routine` as they were asked for, and `running`."""
        with self._database.read() as connection:
            return depth(connection)

    def queue(self) -> Queue:
        """What waits and runs now, by priority, and how long the oldest has waited."""
        with self._database.read() as connection:
            return queue(connection)


def _submitter(name: str, actor: str, traceparent: str | None) -> Submitter:
    return Submitter(name=name, actor=actor or name, traceparent=kept(traceparent))


def cancel_job(connection: Connection, job_id: str, *, public_url: str, actor: str) -> tuple[Job, list[str]]:
    """`Jobs.cancel`, inside the caller's transaction."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound
    job = job_of(row)
    if job.status is Status.QUEUED:
        ended = _end(connection, job, Status.CANCELLED, expect=Status.QUEUED, actor=actor)
        return ended, outbox.tell(connection, ended, None, public_url=public_url)
    if job.status is Status.RUNNING:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
        note(connection, Action.CANCEL_ASKED, actor=actor, job_id=job_id, attempt=job.attempt)
    return job, []


def _end(
    connection: Connection, job: Job, status: Status, error: PathlaneError | None = None,
    *, expect: Status = Status.RUNNING, actor: str = "",
) -> Job:  # fmt: skip
    code, text = (error.code, error.public) if error else (None, None)
    values = {"job": job.id, "of_attempt": job.attempt, "was": expect, "becomes": status}
    values |= {"error": code, "text": text}
    row = _END.execute(connection, values, action=END_OF[status], actor=actor or _holder(job), code=code)
    if row is None:
        raise LeaseLost
    return replace(
        job, status=status, finished_at=row.finished_at, cancel_requested=row.cancel_requested,
        error_code=code, error_text=text, worker_id=None,
    )  # fmt: skip


def _requeue(
    connection: Connection, job: Job, *, wait: float, alone: bool, actor: str = "", code: str | None = None
) -> None:
    """Back to the queue, to be claimed in `wait` seconds at the soonest. Raises LeaseLost."""
    row = connection.execute(
        update(jobs).where(*_held(job.id, job.attempt))
        .values(status=Status.QUEUED, lease_until=None, worker_id=None, not_before=clock(wait), alone=alone)
        .returning(jobs.c.id)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise LeaseLost
    about = {"job_id": job.id, "attempt": job.attempt, "code": code}
    note(connection, Action.RETURNED, actor=actor or _holder(job), **about)


def _holder(job: Job) -> str:
    return f"worker:{job.worker_id or UNNAMED}"


def _held(job_id: str, attempt: int) -> tuple[Any, ...]:
    return (jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.status == Status.RUNNING)


def _claimable() -> Select[tuple[str]]:
    now = select(clock()).scalar_subquery()  # read once, not for every job that waits out a pause
    return select(jobs.c.id).where(stands(jobs.c.status, Status.QUEUED), jobs.c.not_before <= now)


_CLAIM: Final = NotedChange(
    update(jobs)
    .where(
        jobs.c.id
        == _claimable()
        .where(jobs.c.level <= bindparam("least"))
        .order_by(jobs.c.level, jobs.c.due_order, jobs.c.created_at)
        .limit(literal_column("1"))
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    .values(status=Status.RUNNING, attempt=jobs.c.attempt + 1, worker_id=bindparam("worker"))
    .values(lease_until=clock(bindparam("lease", type_=Double)))
    .returning(jobs)
)
_END: Final = NotedChange(
    update(jobs)
    .where(jobs.c.id == bindparam("job"), jobs.c.attempt == bindparam("of_attempt"))
    .where(jobs.c.status == bindparam("was"))
    .values(status=bindparam("becomes"), finished_at=clock(), lease_until=None, worker_id=None)
    .values(error_code=bindparam("error"), error_text=bindparam("text"))
    .returning(jobs.c.id, jobs.c.attempt, jobs.c.finished_at, jobs.c.cancel_requested)
)
