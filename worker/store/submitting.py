"""Submitting: requests become queued jobs, one or many in a transaction.

In: requests, and who sent them. Out: jobs that are new, or were there before under the same key; or why not.
It does not know how a job is claimed or ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, insert, select
from sqlalchemy.exc import IntegrityError

from worker.errors import IdempotencyConflict, InputError, InvalidRequest, NotEnded, NotFound, QueueFull
from worker.jobs.audit import Action
from worker.jobs.job import Job
from worker.jobs.request import JobRequest
from worker.store import outbox
from worker.store.audit import note
from worker.store.backlog import Backlog
from worker.store.hospital_tables import AskRow
from worker.store.job_rows import job_of, job_row, jobs
from worker.store.session import Database, clock

asks = cast("Table", AskRow.__table__)

#: is told of references that are about to be stored
Use = Callable[[Sequence[str]], object]


def no_use(references: Sequence[str]) -> None:
    """Where no upload is ever removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    job: Job
    #: False: the same request had been accepted under this key before
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    #: whose idempotency keys they are
    name: str
    #: as the audit names whoever it was
    actor: str
    #: W3C Trace Context, where a valid one came with the requests
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Submissions:
    """Where requests are taken in. One for each process: its backlog counts."""

    database: Database
    backlog: Backlog
    #: `worker.uploads.use`
    use: Use = no_use

    def take(
        self, request: JobRequest, who: Submitter, *, is_limited: bool = True, rerun_of: str | None = None
    ) -> Submission:
        """Raises IdempotencyConflict, InvalidRequest, UnknownEndpoint, QueueFull."""
        self._use([request])
        try:
            with self.database.write() as connection:
                return self._take(connection, request, who, is_limited=is_limited, rerun_of=rerun_of)
        except IntegrityError:
            # Somebody else committed the same key between our look and our insert.
            with self.database.read() as connection:
                known = _known(connection, request, who.name)
            if known is None:
                raise
            return known

    def take_each(
        self, requests: Sequence[JobRequest], who: Submitter
    ) -> list[Submission | InputError | QueueFull]:
        """All in one transaction; what is wrong with one of them keeps no other out."""
        self._use(requests)
        with self.database.write() as connection:
            return [self._take_or_say_why(connection, request, who) for request in requests]

    def take_again(self, job_id: str, who: Submitter, *, idempotency_key: str | None = None) -> Submission:
        """The request of a job that has ended, as a new job. Raises NotFound, NotEnded, and as `take`."""
        with self.database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
            of_order = connection.execute(select(asks.c.id).where(asks.c.job_id == job_id)).first()
        if row is None:
            raise NotFound
        earlier = job_of(row)
        if not earlier.status.is_terminal:
            raise NotEnded
        # A time that was due then would refuse the job now.
        changed: dict[str, Any] = {"idempotency_key": idempotency_key, "due_at": None}
        if of_order is not None:  # results go to a hospital in the light of their order, which asked once
            changed["endpoints"] = ()
        return self.take(earlier.request.model_copy(update=changed), who, rerun_of=job_id)

    def _use(self, requests: Sequence[JobRequest]) -> None:
        self.use([image.reference for request in requests for image in request.images])

    def _take_or_say_why(
        self, connection: Connection, request: JobRequest, who: Submitter
    ) -> Submission | InputError | QueueFull:
        try:
            with _savepoint(connection):
                return self._take(connection, request, who, is_limited=True, rerun_of=None)
        except (InputError, QueueFull) as error:
            return error
        except IntegrityError:
            known = _known(connection, request, who.name)
            if known is None:
                raise
            return known

    def _take(
        self, connection: Connection, request: JobRequest, who: Submitter,
        *, is_limited: bool, rerun_of: str | None,
    ) -> Submission:  # fmt: skip
        known = _known(connection, request, who.name)
        if known is not None:
            return known
        if is_limited:
            self.backlog.admit(connection, request.priority)
        job = insert_job(
            connection, request, submitter=who.name, rerun_of=rerun_of, traceparent=who.traceparent
        )
        note(connection, Action.SUBMITTED, actor=who.actor, job_id=job.id)
        if rerun_of is not None:
            note(connection, Action.RERUN, actor=who.actor, job_id=rerun_of, subject_id=job.id)
        return Submission(job=job, is_new=True)


def insert_job(
    connection: Connection, request: JobRequest,
    *, submitter: str, rerun_of: str | None = None, traceparent: str | None = None,
) -> Job:  # fmt: skip
    """A QUEUED job, inside the caller's transaction. Raises InvalidRequest, UnknownEndpoint."""
    if request.due_at is not None and request.due_at <= connection.execute(select(clock())).scalar_one():
        raise InvalidRequest((("due_at", "lies in the past"),))
    outbox.check_endpoints(connection, request.endpoints)
    row: dict[str, Any] = job_row(request, submitter=submitter, rerun_of=rerun_of, traceparent=traceparent)
    row |= {"created_at": clock(), "not_before": clock()}
    return job_of(connection.execute(insert(jobs).values(row).returning(jobs)).one())


def _known(connection: Connection, request: JobRequest, submitter: str) -> Submission | None:
    if request.idempotency_key is None:
        return None
    same_key = (jobs.c.submitter == submitter, jobs.c.idempotency_key == request.idempotency_key)
    row = connection.execute(select(jobs).where(*same_key)).one_or_none()
    if row is None:
        return None
    if row.request_digest != request.digest:
        raise IdempotencyConflict
    return Submission(job=job_of(row), is_new=False)


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    with connection.begin_nested():
        yield
