"""Job: a request that was accepted, and where it stands.

In: rows of the store. Out: frozen values and the table of what may follow what. No clock, no SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.errors import PathlaneError
from worker.jobs.request import JobRequest, Priority

ATTEMPTS_ALLOWED = 3
BACKOFF_FIRST = timedelta(seconds=5)
BACKOFF_LAST = timedelta(minutes=10)


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  #: stored, nobody has it
    RUNNING = "running"  #: one worker holds its lease
    SUCCEEDED = "succeeded"  #: it has its one reading
    FAILED = "failed"  #: it ended without a reading, and says why
    CANCELLED = "cancelled"  #: the asker took it back

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})

#: (from, to) -> what brings it about. A pair that is absent is forbidden.
TRANSITIONS: dict[tuple[Status, Status], str] = {
    (Status.QUEUED, Status.RUNNING): "claim",
    (Status.QUEUED, Status.CANCELLED): "cancel",
    (Status.RUNNING, Status.QUEUED): "lease lost, or a retryable error",
    (Status.RUNNING, Status.SUCCEEDED): "finish",
    (Status.RUNNING, Status.FAILED): "fail, or the last attempt's lease lost",
    (Status.RUNNING, Status.CANCELLED): "cancel, seen by the worker",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    #: `job_` and a ULID
    id: str
    status: Status
    request: JobRequest
    #: whose key submitted it
    submitter: str
    #: how often it was claimed; the fence of every later write
    attempt: int
    #: its last lease ran out with its worker: it may have killed it, so it is read without neighbours
    alone: bool
    cancel_requested: bool
    created_at: datetime
    #: not claimed before
    not_before: datetime
    finished_at: datetime | None
    error_code: str | None
    error_text: str | None
    #: who holds its lease
    worker_id: str | None = None
    #: the job whose request this one asks again
    rerun_of: str | None = None
    #: W3C Trace Context, where its submitter sent it
    traceparent: str | None = None

    @property
    def priority(self) -> Priority:
        return self.request.priority

    def is_tried_again_after(self, error: PathlaneError) -> bool:
        """Whether this attempt, which ended in `error`, is followed by another."""
        return error.retryable and self.attempt < ATTEMPTS_ALLOWED

    def log_context(self) -> dict[str, str | int]:
        """All that may be logged of a job."""
        return {"job_id": self.id, "attempt": self.attempt, "priority": self.priority.value}


def backoff(attempt: int, chance: float) -> timedelta:
    """How long to wait after `attempt` failed attempts; `chance` in [0, 1) spreads the herd."""
    doubled: timedelta = min(BACKOFF_FIRST * 2 ** max(attempt - 1, 0), BACKOFF_LAST)
    return doubled * (0.75 + 0.5 * chance)
