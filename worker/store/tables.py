"""The tables. Their history is in `migrations/`; a test holds the two together.

Only ids and enumerated words are indexed. Text of a case stands in `jobs.request`, `readings` and `reviews`,
and nowhere else; `deliveries.body` has it only for endpoints that ask for the full payload. What a hospital's
system sent, what a receiver answered, and who the patient is, stands sealed (`worker.store.sealing`) in
`messages.sealed`, `delivery_attempts.sealed_answer`, `cases.sealed` and `audit.sealed`; accession numbers and
slide ids are plain, because they are what is looked for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from worker.store import hospital_tables  # noqa: F401  whoever has one table has all: their metadata are one
from worker.store.base import Base, partial_index


class JobRow(Base):
    """A request that was accepted, and where it stands."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("submitter", "idempotency_key"),
        # The order of claiming; as long as this index serves it, a claim costs the same at any depth.
        partial_index("ix_jobs_claim", "level", "due_order", "created_at", where="status = 'queued'"),
        partial_index("ix_jobs_lease", "lease_until", where="status = 'running'"),
        # The two orders of lists. Nothing after `status` ever changes: whoever turns pages loses no row. With
        # `status` in front SQLite would claim from them, and sort.
        Index("ix_jobs_newest", "asked_level", "status", "created_at", "id"),
        Index("ix_jobs_worklist", "asked_level", "status", "due_order", "created_at", "id"),
        partial_index("ix_jobs_correlation", "correlation_id", where="correlation_id IS NOT NULL"),
    )

    #: `job_` and a ULID
    id: Mapped[str] = mapped_column(primary_key=True)
    #: a word of `worker.jobs.job.Status`
    status: Mapped[str]
    #: 0 STAT, 1 urgent, 2 routine; a routine row that waited too long is lifted to 1
    level: Mapped[int] = mapped_column(SmallInteger)
    #: the same as it was asked for; never lifted
    asked_level: Mapped[int] = mapped_column(SmallInteger, server_default="2")
    #: when the answer is wanted, or the far end of time
    due_order: Mapped[datetime]
    #: when it was accepted
    created_at: Mapped[datetime]
    #: not claimed before: after an error that may pass, a pause
    not_before: Mapped[datetime]
    #: how often it was claimed: the fence of every write after a claim
    attempt: Mapped[int] = mapped_column(SmallInteger)
    #: until when it is its worker's; none unless it runs
    lease_until: Mapped[datetime | None]
    #: who holds its lease, or held it last
    worker_id: Mapped[str | None]
    #: its last lease ran out with its worker: its next attempt is read without neighbours
    alone: Mapped[bool]
    #: its asker took it back while it ran
    cancel_requested: Mapped[bool]
    #: the name of the API key that asked; or `command-line`, `celery`, `lis`
    submitter: Mapped[str]
    #: the asker's; the same key of the same asker gives the same job
    idempotency_key: Mapped[str | None]
    #: the asker's own id, as in the request
    correlation_id: Mapped[str | None]
    #: the job whose request this one asks again
    rerun_of: Mapped[str | None]
    #: the `JobRequest`, as JSON
    request: Mapped[dict[str, Any]]
    #: of the request without its key: tells the same request from another one
    request_digest: Mapped[str]
    #: when it ended
    finished_at: Mapped[datetime | None]
    #: why it ended without a reading: `docs/reference/errors.md`
    error_code: Mapped[str | None]
    #: the same as a sentence that is safe to show
    error_text: Mapped[str | None]
    #: the submitter's, where it sent a valid one
    traceparent: Mapped[str | None]


class ReadingRow(Base):
    """What the model said: of each job that succeeded, and of a running one that was taken back."""

    __tablename__ = "readings"

    #: whose it is
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    #: the attempt that wrote it
    attempt: Mapped[int] = mapped_column(SmallInteger)
    #: when it was stored, with the end of its job
    created_at: Mapped[datetime]
    #: a word of `worker.jobs.reading.ReadingOutcome`
    outcome: Mapped[str]
    #: what the model wrote before its answer
    reasoning: Mapped[str]
    #: empty unless `outcome` is `answered`
    answer: Mapped[str]
    #: the letter of the option that was named, where exactly one was
    choice: Mapped[str | None]
    #: everything the model wrote
    raw_text: Mapped[str]
    #: of question and pictures
    prompt_tokens: Mapped[int]
    #: of everything the model wrote
    completion_tokens: Mapped[int]
    #: seconds spent, by stage
    timings: Mapped[dict[str, Any]]
    #: which model, how it was run, and which pixels it was shown
    provenance: Mapped[dict[str, Any]]


class EndpointRow(Base):
    """Who is told of a job's end."""

    __tablename__ = "endpoints"

    #: `ep_` and a ULID
    id: Mapped[str] = mapped_column(primary_key=True)
    #: the operator's word for it
    name: Mapped[str] = mapped_column(unique=True)
    #: where it is told; the scheme says how
    url: Mapped[str]
    #: a word of `worker.jobs.event.EndpointStatus`
    status: Mapped[str]
    #: of which events it is told
    event_types: Mapped[list[str]]
    #: `thin`, or `full`: text of the case too
    payload: Mapped[str]
    #: webhooks are signed with it
    secret: Mapped[str]
    #: the one before a rotation
    previous_secret: Mapped[str | None]
    #: until then both secrets sign
    previous_until: Mapped[datetime | None]
    #: when it was added
    created_at: Mapped[datetime]


class DeliveryRow(Base):
    """One event on its way to one endpoint."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("job_id", "endpoint_id", "event_type"),
        partial_index("ix_deliveries_due", "next_at", where="status = 'pending'"),
        Index("ix_deliveries_endpoint", "endpoint_id", "lease_until"),
        # Lists of one status each, for the same reason without `status` in front; most are delivered.
        Index("ix_deliveries_newest", "created_at", "id"),
        *(
            partial_index(f"ix_deliveries_{status}", "created_at", "id", where=f"status = '{status}'")
            for status in ("pending", "exhausted", "gone", "dropped")
        ),
    )

    #: `msg_` and a ULID: the `webhook-id`, the same on every attempt
    id: Mapped[str] = mapped_column(primary_key=True)
    #: whose end it tells; none: a test event
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    #: who is told
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id"))
    #: a word of `worker.jobs.event.EventType`
    event_type: Mapped[str]
    #: what is sent, frozen when the job ended
    body: Mapped[bytes] = mapped_column(LargeBinary)
    #: a word of `worker.jobs.event.DeliveryStatus`
    status: Mapped[str]
    #: how often it was tried: the fence of the write after an attempt
    attempt: Mapped[int] = mapped_column(SmallInteger)
    #: when it is due
    next_at: Mapped[datetime]
    #: until when it is somebody's to send
    lease_until: Mapped[datetime | None]
    #: when the job ended
    created_at: Mapped[datetime]
    #: when the receiver said that it has it
    delivered_at: Mapped[datetime | None]
    #: of the last attempt, where there was one
    http_status: Mapped[int | None]
    #: one word on why the last attempt failed, or why nothing was sent
    reason: Mapped[str | None]


class DeliveryAttemptRow(Base):
    """One attempt to deliver, once it is known what came of it."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (Index("ix_delivery_attempts", "delivery_id", "at", "id"),)

    #: `try_` and a ULID
    id: Mapped[str] = mapped_column(primary_key=True)
    #: of which delivery
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"))
    #: from 1; begins again with a replay
    attempt: Mapped[int] = mapped_column(SmallInteger)
    #: when it was known
    at: Mapped[datetime]
    #: what the delivery was after it
    status: Mapped[str]
    #: what the receiver answered, where it did
    http_status: Mapped[int | None]
    #: one word on why it failed
    reason: Mapped[str | None]
    #: the first kilobyte of what the receiver answered; none without keys to seal it with
    sealed_answer: Mapped[bytes | None] = mapped_column(LargeBinary)


class ReviewRow(Base):
    """What a person says about a reading. Rows are added and never changed; triggers refuse it."""

    __tablename__ = "reviews"
    __table_args__ = (
        UniqueConstraint("reviewer", "idempotency_key"),
        Index("ix_reviews_job", "job_id", "created_at", "id"),
    )

    #: `rev_` and a ULID
    id: Mapped[str] = mapped_column(primary_key=True)
    #: whose reading it is about
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    #: when it was said
    created_at: Mapped[datetime]
    #: as the audit names whoever it was
    reviewer: Mapped[str]
    #: the same key of the same reviewer gives the same review
    idempotency_key: Mapped[str | None]
    #: a word of `worker.jobs.review.Verdict`
    verdict: Mapped[str]
    #: in the reviewer's words
    comment: Mapped[str]
    #: what the answer should have been
    corrected_answer: Mapped[str | None]


class ApiKeyRow(Base):
    """Who may ask over HTTP."""

    __tablename__ = "api_keys"

    #: `key_` and a ULID
    id: Mapped[str] = mapped_column(primary_key=True)
    #: whose it is; several keys may have one name
    name: Mapped[str]
    #: sha256 of the key; the key itself is shown once and kept nowhere
    digest: Mapped[str] = mapped_column(unique=True)
    #: words of `worker.jobs.scope.Scope`
    scopes: Mapped[list[str]] = mapped_column(server_default="[]")
    #: when it was added
    created_at: Mapped[datetime]
    #: when it lets nobody in any more
    expires_at: Mapped[datetime | None]
    #: since when it lets nobody in, because somebody took it back
    revoked_at: Mapped[datetime | None]


class PassRow(Base):
    """Who is signed in to the console: a link that opens once, or the session it became."""

    __tablename__ = "passes"
    __table_args__ = (Index("ix_passes_expiry", "expires_at"),)

    #: sha256 of the word that is shown; the word itself is kept nowhere
    id: Mapped[str] = mapped_column(primary_key=True)
    #: a word of `worker.store.passes.Kind`
    kind: Mapped[str]
    #: whose key it stands for
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    #: when it was made
    created_at: Mapped[datetime]
    #: when it lets nobody in any more
    expires_at: Mapped[datetime]


class WorkerRow(Base):
    """A worker that has reported within the last hour."""

    __tablename__ = "workers"

    #: host, process and a random part: never used twice
    id: Mapped[str] = mapped_column(primary_key=True)
    #: its machine's name
    host: Mapped[str]
    #: its process there
    pid: Mapped[int] = mapped_column(BigInteger)
    #: `cuda:N`, `cpu`, or the server it asks
    device: Mapped[str]
    #: which it has loaded
    model: Mapped[str]
    #: its cap
    slots: Mapped[int]
    #: how many cases it reads
    running: Mapped[int]
    #: when it reported first
    started_at: Mapped[datetime]
    #: when it reported last
    seen_at: Mapped[datetime]


class AuditRow(Base):
    """Who did what, and when. Rows are added and never changed; triggers refuse it (migrations/0003).

    There are no foreign keys: the record outlives what it tells of.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_at", "at"),
        partial_index("ix_audit_job", "job_id", where="job_id IS NOT NULL"),
        partial_index("ix_audit_case", "case_id", where="case_id IS NOT NULL"),
        partial_index("ix_audit_unchained", "at", "id", where="seq IS NULL"),
        partial_index("ix_audit_seq", "seq", where="seq IS NOT NULL", unique=True),
    )

    #: of the row
    id: Mapped[str] = mapped_column(primary_key=True)
    #: when, on the database's clock
    at: Mapped[datetime]
    #: `key:NAME:ID`, `worker:ID`, `cli:ACCOUNT`, `hl7:APPLICATION`, `courier` ...
    actor: Mapped[str]
    #: a word of `worker.jobs.audit.Action`
    action: Mapped[str]
    #: the job it is about
    job_id: Mapped[str | None]
    #: the case it is about
    case_id: Mapped[str | None]
    #: the delivery it is about
    delivery_id: Mapped[str | None]
    #: the hospital's message that brought it about
    message_id: Mapped[str | None]
    #: the endpoint or the API key it is about
    subject_id: Mapped[str | None]
    #: of the job, or of the delivery
    attempt: Mapped[int | None] = mapped_column(SmallInteger)
    #: an error's code, or why a delivery was given up
    code: Mapped[str | None]
    #: earlier and later values of a case, sealed
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: its place in the chain, from 1; none until it is chained
    seq: Mapped[int | None] = mapped_column(BigInteger)
    #: SHA-256 of the digest before it and of this row (`worker.jobs.audit.digest_of`)
    digest: Mapped[bytes | None] = mapped_column(LargeBinary)


class AuditHeadRow(Base):
    """The chain's last row: one row, which whoever chains holds locked. It only goes up."""

    __tablename__ = "audit_head"

    #: always 1
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    #: of the last chained row; 0 before the first
    seq: Mapped[int] = mapped_column(BigInteger)
    #: of that row; 32 zero bytes before the first
    digest: Mapped[bytes] = mapped_column(LargeBinary)
