"""The desk: one order at a time becomes cases, questions and jobs, inside the intake's transaction.

In: orders. Out: rows, and lists of what was made and who is to be told. Each verb is one method; what a
verb does is told in `worker.jobs.order`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, Row, Table, or_, select, update
from ulid import ULID

from worker.jobs.archived import ArchivedImages, is_uid
from worker.jobs.audit import Action
from worker.jobs.event import EndpointStatus
from worker.jobs.job import Status
from worker.jobs.order import (
    Mode,
    Order,
    Question,
    Subject,
    Verb,
    known_by_now,
    order_document,
    order_of,
    question_document,
)
from worker.jobs.request import ImageReference, JobRequest, Priority, Region, Style
from worker.store.audit import audit, entry
from worker.store.endpoints import endpoints
from worker.store.hospital_tables import AskRow, CaseRow
from worker.store.instances import MOST_PICTURES, pictures
from worker.store.job_rows import job_row, jobs
from worker.store.jobs import cancel_job
from worker.store.pending import Pending
from worker.store.sealing import Seal
from worker.store.submitting import Use

#: accession numbers of test messages are no accession numbers of the lab's
TEST_DOMAIN: Final = "test"
SUBMITTER: Final = "lis"
OPEN, WITHDRAWN, CLOSED = "open", "withdrawn", "closed"

cases = cast("Table", CaseRow.__table__)
asks = cast("Table", AskRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Case:
    id: str
    status: str
    generation: int
    #: all that is known by now
    order: Order
    #: nothing was asked about it yet
    is_new: bool = False


#: domain, accession, slide
Key = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class Desk:
    """For one transaction. New rows are written together at its end, or before anything looks for them."""

    connection: Connection
    seal: Seal
    plan: Callable[[Order], Sequence[Question]]
    public_url: str
    #: name of the archive where DICOM lies that was not sent here; empty: nowhere
    archive: str
    #: is told of references before they are stored
    use: Use
    #: the database's time
    now: datetime
    pending: Pending
    _message_id: str = ""
    _actor: str = ""
    #: cases that one query has looked for, None where there is none; what changes is taken out
    _looked_up: dict[Key, Row[Any] | None] = field(default_factory=dict)
    _made: list[str] = field(default_factory=list)
    _told: list[str] = field(default_factory=list)
    _pictures: dict[str, Sequence[str]] = field(default_factory=dict)
    _endpoints: frozenset[str] | None = None
    _last_ask: str = ""

    def look_up(self, orders: Iterable[Order]) -> None:
        """The cases of all `orders`, in one query."""
        keys = {key for order in orders for key in _keys(order)}
        if not keys:
            return
        self._looked_up = dict.fromkeys(keys)
        wanted = (
            select(cases)
            .where(cases.c.accession.in_(sorted({accession for _, accession, _ in keys})))
            .where(cases.c.slide.in_(sorted({slide for _, _, slide in keys})))
        )
        for row in self.connection.execute(wanted.with_for_update()):
            self._looked_up[(row.domain, row.accession, row.slide)] = row

    def take(self, order: Order, *, message_id: str, actor: str) -> None:
        self._message_id, self._actor = message_id, actor
        if order.verb is Verb.AVAILABLE:
            self._available(order)
        elif order.verb is Verb.REGISTERED and (order.accession or order.slide):
            self._register(order)
        else:
            self.pending.write()
            self._looked_up.clear()
            take = {
                Verb.REGISTERED: self._renew_patient,
                Verb.WITHDRAWN: self._withdraw,
                Verb.CLOSED: self._close,
                Verb.MERGED: self._merge,
            }
            take[order.verb](order)

    def given(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the jobs made, and of the deliveries of jobs cancelled, since this was asked last."""
        found = tuple(self._made), tuple(self._told)
        self._made.clear()
        self._told.clear()
        return found

    def _renew_patient(self, order: Order) -> None:
        for case in self._patients_cases(order):
            self._rewrite(case, replace(self._order(case), patient=order.patient), {})
            self._note(Action.PATIENT_UPDATED, case.id)

    def _patients_cases(self, order: Order) -> Sequence[Row[Any]]:
        digest = self._patient_digest(order)
        if not digest:
            return ()
        return self.connection.execute(
            select(cases).where(cases.c.patient_digest == digest).with_for_update()
        ).all()

    def _register(self, order: Order) -> _Case:
        """The case, made or brought up to date: what a message does not say stays as it was."""
        slide, *above = _keys(order)
        known, whole = self._look(slide), next(map(self._look, above), None)
        earlier = known or whole
        if earlier is not None:
            order = known_by_now(self._order(earlier), order)
        values = {
            "series_uid": order.series_uid, "patient_digest": self._patient_digest(order),
            "sealed": self.seal.close_json(order_document(order)), "updated_at": self.now,
        }  # fmt: skip
        if known is not None:
            self.connection.execute(update(cases).where(cases.c.id == known.id).values(values))
            self._looked_up.pop(slide, None)
            return _Case(id=known.id, status=known.status, generation=known.generation, order=order)
        self._looked_up.pop(slide, None)
        status = CLOSED if whole is not None and whole.status == CLOSED else OPEN
        case = _Case(id=f"case_{ULID()}", status=status, generation=0, order=order, is_new=True)
        new = values | {
            "id": case.id, "domain": _domain(order), "accession": order.accession, "slide": order.slide,
            "status": status, "generation": 0, "created_at": self.now,
        }  # fmt: skip
        self.pending.add(cases, new)
        self._note(Action.REGISTERED, case.id)
        return case

    def _look(self, key: Key) -> Row[Any] | None:
        if key in self._looked_up:
            return self._looked_up[key]
        self.pending.write()
        domain, accession, slide = key
        one = (cases.c.domain == domain, cases.c.accession == accession, cases.c.slide == slide)
        return self.connection.execute(select(cases).where(*one).with_for_update()).one_or_none()

    def _available(self, order: Order) -> None:
        case = self._register(order)
        if case.status == CLOSED:
            self._note(Action.IMAGE_OF_CLOSED, case.id)
            return
        if case.status == WITHDRAWN:
            self.connection.execute(update(cases).where(cases.c.id == case.id).values(status=OPEN))
        for question in self.plan(case.order):
            self._ask(case, question)

    def _ask(self, case: _Case, question: Question) -> None:
        key = _business_key(case, question)
        row = None if case.is_new else self._asked(key)
        if row is not None and row.job_id is not None:
            return
        images = self._images_of(case.order)
        ask_id = row.id if row is not None else self._next_ask()
        job_id = self._submit(ask_id, case, question, images) if images else None
        if row is not None:
            self.pending.write()
            self.connection.execute(update(asks).where(asks.c.id == ask_id).values(job_id=job_id))
            return
        new = {
            "id": ask_id, "business_key": key, "case_id": case.id, "job_id": job_id,
            "series_uid": case.order.series_uid, "generation": case.generation,
            "protocol": f"{question.protocol}/{question.version}", "name": question.name,
            "mode": question.mode, "ordered": case.order.priority,
            "question": question_document(question), "created_at": self.now,
        }  # fmt: skip
        self.pending.add(asks, new)
        self._note(Action.ASKED, case.id, {"ask": ask_id, "rule": question.rule}, job_id=job_id)

    def _next_ask(self) -> str:
        """Greater than the one before it, within one millisecond too: the newest ask of a question counts."""
        new = f"ask_{ULID()}"
        while new <= self._last_ask:
            new = f"ask_{ULID()}"
        self._last_ask = new
        return new

    def _asked(self, business_key: str) -> Any:
        self.pending.write()
        query = select(asks.c.id, asks.c.job_id).where(asks.c.business_key == business_key)
        return self.connection.execute(query.with_for_update()).one_or_none()

    def _images_of(self, order: Order) -> Sequence[str]:
        """What the message itself names, what was sent to us, or else what lies in the site's archive."""
        found = order.images or self._pictures_of(order.series_uid)
        if found or not self.archive or not is_uid(order.study_uid):
            return found
        if order.series_uid and not is_uid(order.series_uid):
            return ()
        place = ArchivedImages(archive=self.archive, study=order.study_uid, series=order.series_uid)
        return (place.reference,)

    def _pictures_of(self, series_uid: str) -> Sequence[str]:
        if series_uid not in self._pictures:
            self._pictures[series_uid] = pictures(self.connection, series_uid)
        return self._pictures[series_uid]

    def _submit(self, ask_id: str, case: _Case, question: Question, images: Sequence[str]) -> str:
        priority = min(case.order.priority, question.priority, key=lambda p: p.level)
        request = JobRequest(
            images=_references(images, question), question=question.text, options=question.options,
            style=Style(question.style), priority=Priority(priority), correlation_id=ask_id,
            endpoints=self._reachable(question),
            labels={"protocol": f"{question.protocol}/{question.version}", "question": question.name,
                    "mode": question.mode.value},
        )  # fmt: skip
        self.use(images)
        row = job_row(request, submitter=SUBMITTER) | {"created_at": self.now, "not_before": self.now}
        self.pending.add(jobs, row)
        self._note(Action.SUBMITTED, case.id, job_id=row["id"])
        self._made.append(row["id"])
        return str(row["id"])

    def _reachable(self, question: Question) -> tuple[str, ...]:
        """Nobody in shadow; a name that is no endpoint is left out, and the reading waits to be fetched."""
        if question.mode is Mode.SHADOW or not question.tell:
            return ()
        if self._endpoints is None:
            known = select(endpoints.c.name).where(endpoints.c.status != EndpointStatus.GONE)
            self._endpoints = frozenset(self.connection.execute(known).scalars())
        return tuple(name for name in question.tell if name in self._endpoints)

    def _withdraw(self, order: Order) -> None:
        for case in self._cases(order):
            self._void(case, WITHDRAWN)

    def _close(self, order: Order) -> None:
        if order.accession:  # images may come after the report
            self._register(replace(order, slide=""))
            self.pending.write()
        for case in self._cases(order):
            if order.final_report:
                final = replace(self._order(case), final_report=order.final_report)
                self.connection.execute(
                    update(cases).where(cases.c.id == case.id)
                    .values(sealed=self.seal.close_json(order_document(final)))
                )  # fmt: skip
            if case.status != CLOSED:
                self._void(case, CLOSED)

    def _void(self, case: Row[Any], status: str) -> None:
        """What runs is cancelled, what was read is stale, and the same may be asked anew."""
        open_jobs = (
            select(jobs.c.id)
            .join(asks, asks.c.job_id == jobs.c.id)
            .where(asks.c.case_id == case.id, jobs.c.status.in_([Status.QUEUED, Status.RUNNING]))
        )
        for job_id in self.connection.execute(open_jobs).scalars().all():
            _, told = cancel_job(self.connection, job_id, public_url=self.public_url, actor=self._actor)
            self._told.extend(told)
        self.connection.execute(
            update(cases).where(cases.c.id == case.id)
            .values(status=status, generation=cases.c.generation + 1, updated_at=self.now)
        )  # fmt: skip
        self._note(Action(status), case.id)

    def _merge(self, order: Order) -> None:
        merge = order.merge
        if merge is None:
            return
        if merge.subject is Subject.PATIENT:
            prior = self.seal.digest(_domain(order), merge.prior, merge.prior_authority)
            found = select(cases).where(cases.c.patient_digest == prior).with_for_update()
            for case in self.connection.execute(found).all():
                self._new_patient(case, order)
            return
        found = select(cases).where(cases.c.domain == _domain(order), cases.c.accession == merge.prior)
        for case in self.connection.execute(found.with_for_update()).all():
            self._new_accession(case, merge.survivor)

    def _new_patient(self, case: Row[Any], order: Order) -> None:
        assert order.merge is not None
        merge, known = order.merge, self._order(case)
        if known.patient is None:
            return
        patient = replace(known.patient, id=merge.survivor, authority=merge.survivor_authority)
        if order.patient is not None and order.patient.id == merge.survivor:
            patient = order.patient
        self._rewrite(case, replace(known, patient=patient), {})
        self._note(Action.PATIENT_MERGED, case.id, {"prior": merge.prior, "survivor": merge.survivor})

    def _new_accession(self, case: Row[Any], survivor: str) -> None:
        """The slide moves to the other accession; where that has a slide of this name, its questions move."""
        known = replace(self._order(case), accession=survivor)
        same = (cases.c.domain == case.domain, cases.c.accession == survivor, cases.c.slide == case.slide)
        other = self.connection.execute(select(cases.c.id).where(*same)).scalar_one_or_none()
        if other is None:
            self._rewrite(case, known, {"accession": survivor})
        else:
            self.connection.execute(update(asks).where(asks.c.case_id == case.id).values(case_id=other))
            self._void(case, CLOSED)
            self._note(Action.QUESTIONS_MOVED, other, {"from": case.id})
        self._note(Action.ACCESSION_MERGED, case.id, {"prior": case.accession, "survivor": survivor})

    def _rewrite(self, case: Row[Any], order: Order, values: dict[str, Any]) -> None:
        sealed = self.seal.close_json(order_document(order))
        self.connection.execute(
            update(cases).where(cases.c.id == case.id)
            .values(values | {"sealed": sealed, "updated_at": self.now,
                              "patient_digest": self._patient_digest(order)})
        )  # fmt: skip

    def _cases(self, order: Order) -> Sequence[Row[Any]]:
        """The slide, or every slide of the accession when no slide is named."""
        if not order.accession and not order.slide:
            return ()
        where = [cases.c.domain == _domain(order)]
        where += [cases.c.accession == order.accession] if order.accession else []
        where += [or_(cases.c.slide == order.slide, cases.c.slide == "")] if order.slide else []
        return self.connection.execute(select(cases).where(*where).with_for_update()).all()

    def _order(self, case: Row[Any]) -> Order:
        return order_of(self.seal.open_json(case.sealed))

    def _patient_digest(self, order: Order) -> str:
        if order.patient is None:
            return ""
        return self.seal.digest(_domain(order), order.patient.id, order.patient.authority)

    def _note(
        self,
        action: Action,
        case_id: str,
        details: dict[str, Any] | None = None,
        *,
        job_id: str | None = None,
    ) -> None:
        row = entry(
            action, actor=self._actor, case_id=case_id, message_id=self._message_id, job_id=job_id,
            sealed=self.seal.close_json(details) if details else None,
        )  # fmt: skip
        self.pending.add(audit, row | {"at": self.now})


def _domain(order: Order) -> str:
    return TEST_DOMAIN if order.is_test else order.domain


def _keys(order: Order) -> tuple[Key, ...]:
    """The slide, and the accession itself: what was said of it before any of its slides had a name."""
    slide = (_domain(order), order.accession, order.slide)
    if not order.accession or not order.slide:
        return (slide,)
    return slide, (_domain(order), order.accession, "")


def _business_key(case: _Case, question: Question) -> str:
    """The same question about the same picture, whoever announces it and however often."""
    picture = case.order.series_uid or "\n".join(case.order.images)
    parts = (case.id, str(case.generation), picture, question.protocol, str(question.version), question.name)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _references(images: Sequence[str], question: Question) -> tuple[ImageReference, ...]:
    """Each region of each image, as many as one request may have."""
    boxes: list[Region | None] = [
        Region(**dict(zip(("x", "y", "width", "height"), box, strict=True))) for box in question.regions
    ]
    every = [ImageReference(reference=image, region=box) for image in images for box in (boxes or [None])]
    return tuple(every[:MOST_PICTURES])
