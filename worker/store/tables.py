"""The tables. Their history is in `migrations/`; a test holds the two together.

Only ids and enumerated words are indexed. Text of a case stands in `jobs.request`, `readings` and `reviews`,
and nowhere else; `deliveries.body` has it only for endpoints that ask for the full payload. What a hospital's
system sent, what a receiver answered, and who the patient is, stands sealed (`worker.store.sealing`) in
`messages.sealed`, `delivery_attempts.sealed_answer`, `cases.sealed` and `audit.sealed`; accession numbers and
slide ids are plain, because they are what is looked for.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worker.store.session import Instant

Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    type_annotation_map = {datetime: Instant(), str: Text(), dict[str, Any]: Json, list[str]: Json}  # noqa: RUF012


def _partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))


def stands(column: Column[Any], word: StrEnum) -> ColumnElement[bool]:
    """`column = 'word'`, written out: a bound parameter would hide a partial index from the planner."""
    return column == literal_column(f"'{word.value}'")


class JobRow(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("submitter", "idempotency_key"),
        # The order of claiming; as long as this index serves it, a claim costs the same at any depth.
        _partial_index("ix_jobs_claim", "level", "due_order", "created_at", where="status = 'queued'"),
        _partial_index("ix_jobs_lease", "lease_until", where="status = 'running'"),
        # The two orders of lists. Nothing after `status` ever changes: whoever turns pages loses no row. With
        # `status` in front SQLite would claim from them, and sort.
        Index("ix_jobs_newest", "asked_level", "status", "created_at", "id"),
        Index("ix_jobs_worklist", "asked_level", "status", "due_order", "created_at", "id"),
        _partial_index("ix_jobs_correlation", "correlation_id", where="correlation_id IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    #: 0 STAT, 1 urgent, 2 routine; a routine row that waited too long is lifted to 1
    level: Mapped[int] = mapped_column(SmallInteger)
    #: the same as it was asked for; never lifted
    asked_level: Mapped[int] = mapped_column(SmallInteger, server_default="2")
    #: when the answer is wanted, or the far end of time
    due_order: Mapped[datetime]
    created_at: Mapped[datetime]
    not_before: Mapped[datetime]
    attempt: Mapped[int] = mapped_column(SmallInteger)
    lease_until: Mapped[datetime | None]
    worker_id: Mapped[str | None]
    alone: Mapped[bool]
    cancel_requested: Mapped[bool]
    submitter: Mapped[str]
    idempotency_key: Mapped[str | None]
    #: the asker's own id, as in the request
    correlation_id: Mapped[str | None]
    #: the job whose request this one asks again
    rerun_of: Mapped[str | None]
    request: Mapped[dict[str, Any]]
    request_digest: Mapped[str]
    finished_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    error_text: Mapped[str | None]


class ReadingRow(Base):
    __tablename__ = "readings"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[datetime]
    outcome: Mapped[str]
    reasoning: Mapped[str]
    answer: Mapped[str]
    choice: Mapped[str | None]
    raw_text: Mapped[str]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    timings: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]


class EndpointRow(Base):
    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    url: Mapped[str]
    status: Mapped[str]
    event_types: Mapped[list[str]]
    payload: Mapped[str]
    secret: Mapped[str]
    previous_secret: Mapped[str | None]
    #: until then both secrets sign
    previous_until: Mapped[datetime | None]
    created_at: Mapped[datetime]


class DeliveryRow(Base):
    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("job_id", "endpoint_id", "event_type"),
        _partial_index("ix_deliveries_due", "next_at", where="status = 'pending'"),
        Index("ix_deliveries_endpoint", "endpoint_id", "lease_until"),
        # Lists of one status each, for the same reason without `status` in front; most are delivered.
        Index("ix_deliveries_newest", "created_at", "id"),
        *(
            _partial_index(f"ix_deliveries_{status}", "created_at", "id", where=f"status = '{status}'")
            for status in ("pending", "exhausted", "gone", "dropped")
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    #: none: a test event
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id"))
    event_type: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[str]
    attempt: Mapped[int] = mapped_column(SmallInteger)
    next_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    http_status: Mapped[int | None]
    reason: Mapped[str | None]


class DeliveryAttemptRow(Base):
    """One attempt to deliver, once it is known what came of it."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (Index("ix_delivery_attempts", "delivery_id", "at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"))
    #: from 1; begins again with a replay
    attempt: Mapped[int] = mapped_column(SmallInteger)
    at: Mapped[datetime]
    #: what the delivery was after it
    status: Mapped[str]
    http_status: Mapped[int | None]
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

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime]
    #: as the audit names whoever it was
    reviewer: Mapped[str]
    idempotency_key: Mapped[str | None]
    verdict: Mapped[str]
    comment: Mapped[str]
    corrected_answer: Mapped[str | None]


class ApiKeyRow(Base):
    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    #: sha256 of the key; the key itself is shown once and kept nowhere
    digest: Mapped[str] = mapped_column(unique=True)
    #: words of `worker.jobs.scope.Scope`
    scopes: Mapped[list[str]] = mapped_column(server_default="[]")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class WorkerRow(Base):
    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    device: Mapped[str]
    model: Mapped[str]
    slots: Mapped[int]
    running: Mapped[int]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class MessageRow(Base):
    """One message of a hospital's system, as it came."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("control_id", "channel", "application", "facility"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    application: Mapped[str]
    facility: Mapped[str]
    control_id: Mapped[str]
    #: sha256 of the bytes
    digest: Mapped[str]
    received_at: Mapped[datetime]
    is_test: Mapped[bool]
    #: empty once the time to keep it is over
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)


class CaseRow(Base):
    """One slide, as everybody's messages describe it by now."""

    __tablename__ = "cases"
    __table_args__ = (
        UniqueConstraint("domain", "accession", "slide"),
        Index("ix_cases_patient", "patient_digest"),
        Index("ix_cases_series", "series_uid"),
        Index("ix_cases_accession", "accession", "slide"),
        Index("ix_cases_slide", "slide"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    #: who gives out these accession numbers; `test` keeps test messages apart
    domain: Mapped[str]
    accession: Mapped[str]
    slide: Mapped[str]
    status: Mapped[str]
    #: goes up whenever what was asked is void: the same question may be asked again then
    generation: Mapped[int]
    series_uid: Mapped[str]
    #: keyed digest of identifier and authority, for merges
    patient_digest: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    #: the Order, as JSON
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class AskRow(Base):
    """One question of the site's protocol about one case."""

    __tablename__ = "asks"
    __table_args__ = (
        _partial_index("ix_asks_waiting", "series_uid", where="job_id IS NULL"),
        Index("ix_asks_case", "case_id"),
    )

    #: goes up in the order in which questions were asked
    id: Mapped[str] = mapped_column(primary_key=True)
    #: the same question about the same picture is asked once
    business_key: Mapped[str] = mapped_column(unique=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    #: none while its image has not come
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    series_uid: Mapped[str]
    generation: Mapped[int]
    protocol: Mapped[str]
    name: Mapped[str]
    mode: Mapped[str]
    #: the lab's own priority
    ordered: Mapped[str]
    question: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class InstanceRow(Base):
    """One DICOM instance that was received, by its identifiers; its bytes are an upload."""

    __tablename__ = "instances"
    __table_args__ = (Index("ix_instances_series", "series_uid"),)

    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[str]
    series_uid: Mapped[str]
    sop_class: Mapped[str]
    is_slide: Mapped[bool]
    reference: Mapped[str]
    #: whether a model may be shown it: no label, no overview
    is_eligible: Mapped[bool]
    #: pixels of all frames, the measure by which the instances of a series are put in order
    pixels: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime]
    #: when its series was given on; none before
    announced_at: Mapped[datetime | None]
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class BookmarkRow(Base):
    """How far a reader of somebody else's list has come."""

    __tablename__ = "bookmarks"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]


class AuditRow(Base):
    """Who did what, and when. Rows are added and never changed; triggers refuse it (migrations/0003).

    There are no foreign keys: the record outlives what it tells of.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_at", "at"),
        _partial_index("ix_audit_job", "job_id", where="job_id IS NOT NULL"),
        _partial_index("ix_audit_case", "case_id", where="case_id IS NOT NULL"),
        _partial_index("ix_audit_unchained", "at", "id", where="seq IS NULL"),
        _partial_index("ix_audit_seq", "seq", where="seq IS NOT NULL", unique=True),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    #: `key:NAME:ID`, `worker:ID`, `cli:ACCOUNT`, `hl7:APPLICATION`, `courier` ...
    actor: Mapped[str]
    #: a word of `worker.jobs.audit.Action`
    action: Mapped[str]
    job_id: Mapped[str | None]
    case_id: Mapped[str | None]
    delivery_id: Mapped[str | None]
    #: the hospital's message that brought it about
    message_id: Mapped[str | None]
    #: the endpoint or the API key it is about
    subject_id: Mapped[str | None]
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

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
