"""Jobs as rows.

In: requests, and rows. Out: the row of a new job, and the Job a row stands for. It decides nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import Row, Table
from ulid import ULID

from worker.jobs.job import Job, Status
from worker.jobs.request import JobRequest
from worker.store.tables import JobRow

#: when a job is due that names no time
FAR_FUTURE: Final = datetime(9999, 12, 31, tzinfo=UTC)

jobs = cast("Table", JobRow.__table__)


def job_row(
    request: JobRequest, *, submitter: str, rerun_of: str | None = None, traceparent: str | None = None
) -> dict[str, Any]:
    """The row of a new job; `created_at` and `not_before` are the caller's."""
    return {
        "id": f"job_{ULID()}", "status": Status.QUEUED, "level": request.priority.level,
        "asked_level": request.priority.level, "due_order": request.due_at or FAR_FUTURE, "attempt": 0,
        "alone": False, "cancel_requested": False, "submitter": submitter,
        "idempotency_key": request.idempotency_key, "correlation_id": request.correlation_id,
        "rerun_of": rerun_of, "request": request.model_dump(mode="json"), "request_digest": request.digest,
        "traceparent": traceparent,
    }  # fmt: skip


def job_of(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        status=Status(row.status),
        request=JobRequest.model_validate(row.request),
        submitter=row.submitter,
        attempt=row.attempt,
        alone=row.alone,
        cancel_requested=row.cancel_requested,
        created_at=row.created_at,
        not_before=row.not_before,
        finished_at=row.finished_at,
        error_code=row.error_code,
        error_text=row.error_text,
        worker_id=row.worker_id,
        rerun_of=row.rerun_of,
        traceparent=row.traceparent,
    )
