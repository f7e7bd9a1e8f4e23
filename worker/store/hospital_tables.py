"""The tables of hospitals' systems: messages, cases, what is asked about them, images that came, bookmarks.

What of them is sealed, `worker.store.tables` says of all tables together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from worker.store.base import Base, partial_index


class MessageRow(Base):
    """One message of a hospital's system, as it came."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("control_id", "channel", "application", "facility"),)

    #: `in_` and a ULID
    id: Mapped[str] = mapped_column(primary_key=True)
    #: a word of `worker.jobs.order.Channel`
    channel: Mapped[str]
    #: who sent it: MSH-3, a FHIR server's name, an application entity title
    application: Mapped[str]
    #: MSH-4; empty where there is none
    facility: Mapped[str]
    #: its number at the sender: MSH-10 in HL7
    control_id: Mapped[str]
    #: sha256 of the bytes
    digest: Mapped[str]
    #: when it came
    received_at: Mapped[datetime]
    #: a test message (MSH-11 `T` or `D`)
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

    #: `case_` and a ULID
    id: Mapped[str] = mapped_column(primary_key=True)
    #: who gives out these accession numbers; `test` keeps test messages apart
    domain: Mapped[str]
    #: accession number
    accession: Mapped[str]
    #: the slide's id within it; empty: the whole case
    slide: Mapped[str]
    #: `open`, `withdrawn` or `closed` (signed out)
    status: Mapped[str]
    #: goes up whenever what was asked is void: the same question may be asked again then
    generation: Mapped[int]
    #: of its image (DICOM Series Instance UID)
    series_uid: Mapped[str]
    #: keyed digest of identifier and authority, for merges
    patient_digest: Mapped[str]
    #: when it was first heard of
    created_at: Mapped[datetime]
    #: when a message changed it last
    updated_at: Mapped[datetime]
    #: the Order, as JSON
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class AskRow(Base):
    """One question of the site's protocol about one case."""

    __tablename__ = "asks"
    __table_args__ = (
        partial_index("ix_asks_waiting", "series_uid", where="job_id IS NULL"),
        Index("ix_asks_case", "case_id"),
    )

    #: goes up in the order in which questions were asked
    id: Mapped[str] = mapped_column(primary_key=True)
    #: the same question about the same picture is asked once
    business_key: Mapped[str] = mapped_column(unique=True)
    #: which case it is about
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    #: none while its image has not come
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    #: of the image that it is about
    series_uid: Mapped[str]
    #: of the case when it was asked
    generation: Mapped[int]
    #: name and version of the site's protocol
    protocol: Mapped[str]
    #: the question's own
    name: Mapped[str]
    #: `shadow` or `live`
    mode: Mapped[str]
    #: the lab's own priority
    ordered: Mapped[str]
    #: as the rules said it: text, options, what an answer means, who is told
    question: Mapped[dict[str, Any]]
    #: when it was asked
    created_at: Mapped[datetime]


class InstanceRow(Base):
    """One DICOM instance that was received, by its identifiers; its bytes are an upload."""

    __tablename__ = "instances"
    __table_args__ = (Index("ix_instances_series", "series_uid"),)

    #: of the instance
    sop_instance_uid: Mapped[str] = mapped_column(primary_key=True)
    #: of its study
    study_uid: Mapped[str]
    #: of its series
    series_uid: Mapped[str]
    #: what kind of object it is
    sop_class: Mapped[str]
    #: whether it is of a whole slide
    is_slide: Mapped[bool]
    #: `upload:sha256-...`
    reference: Mapped[str]
    #: whether a model may be shown it: no label, no overview
    is_eligible: Mapped[bool]
    #: pixels of all frames, the measure by which the instances of a series are put in order
    pixels: Mapped[int] = mapped_column(BigInteger)
    #: when it came
    received_at: Mapped[datetime]
    #: when its series was given on; none before
    announced_at: Mapped[datetime | None]
    #: what its header says of slide and patient
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class BookmarkRow(Base):
    """How far a reader of somebody else's list has come."""

    __tablename__ = "bookmarks"

    #: whose list
    name: Mapped[str] = mapped_column(primary_key=True)
    #: how far
    value: Mapped[dict[str, Any]]
