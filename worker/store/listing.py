"""Listing: jobs as a worklist shows them, page by page, with what came of them and where they came from.

In: filters, an order, a position. Out: a page, in two queries however long it is: the jobs with what their
readings say, and the orders behind them. It changes nothing; `Audit` writes down who is given answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, select, tuple_, union_all

from worker.errors import NotFound
from worker.jobs.audit import Action
from worker.jobs.job import TERMINAL, Status
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority
from worker.store.audit import audit
from worker.store.hospital_tables import AskRow, CaseRow, MessageRow
from worker.store.job_rows import FAR_FUTURE, jobs
from worker.store.pages import Page, Position
from worker.store.readings import readings
from worker.store.reviews import reviews
from worker.store.session import Database, clock

# Not from the desk and the intake, which seal: a gateway starts without that.
asks = cast("Table", AskRow.__table__)
cases = cast("Table", CaseRow.__table__)
messages = cast("Table", MessageRow.__table__)

#: characters of a question or an answer in a list
SUMMARY: Final = 200


class Sorting(StrEnum):
    """The order of a list."""

    NEWEST = "newest"  #: by when they came, the newest first
    WORKLIST = "worklist"  #: STAT, urgent, routine as they were asked for; by due time, then age


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Filters:
    """Everything that is given must hold."""

    statuses: tuple[Status, ...] = ()
    priorities: tuple[Priority, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    submitter: str | None = None
    correlation_id: str | None = None
    #: text of a case: these never stand in a URL
    domain: str | None = None
    accession: str | None = None
    slide: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_narrow(self) -> bool:
        """Whether so few jobs can match that they are looked up first and sorted then."""
        return any(given is not None for given in (self.correlation_id, self.accession, self.slide))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The order a job came from."""

    case_id: str
    domain: str
    accession: str = field(repr=False)
    slide: str = field(repr=False)
    protocol: str
    #: the sender's channel, application and facility; empty where its message is not known
    channel: str = ""
    application: str = ""
    facility: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One job in a list."""

    id: str
    status: Status
    priority: Priority
    attempt: int
    cancel_requested: bool
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    #: seconds since it came; of a job that has ended, from then to its end
    age: float
    submitter: str
    correlation_id: str | None
    rerun_of: str | None
    error_code: str | None
    question: str = field(repr=False)
    outcome: ReadingOutcome | None
    choice: str | None
    answer: str | None = field(repr=False)
    reviews: int
    origin: Origin | None


class Listing:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, filters: Filters, sorting: Sorting, *, after: Position | None = None, limit: int
    ) -> Page[Listed]:
        with self._database.read() as connection:
            rows = connection.execute(_query(filters, sorting, after, limit + 1)).all()
            found = _origins(connection, rows[:limit])
        items = tuple(_listed(row, found.get(row.id) or found.get(row.rerun_of)) for row in rows[:limit])
        return Page(items=items, end=_position(rows[limit - 1]) if len(rows) > limit else None)

    def origin(self, job_id: str) -> Origin | None:
        """Where one job came from. Raises NotFound."""
        query: Select[Any] = select(jobs.c.id, jobs.c.rerun_of, jobs.c.submitter).where(jobs.c.id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                raise NotFound
            found = _origins(connection, [row])
        return found.get(row.id) or found.get(row.rerun_of)


_REVIEWS: Final = (
    select(func.count())
    .where(reviews.c.job_id == jobs.c.id)
    .correlate(jobs)
    .scalar_subquery()
    .label("reviews")
)
_COLUMNS: Final = (
    jobs.c.id, jobs.c.status, jobs.c.asked_level, jobs.c.due_order, jobs.c.attempt, jobs.c.cancel_requested,
    jobs.c.created_at, jobs.c.finished_at, jobs.c.submitter, jobs.c.correlation_id, jobs.c.rerun_of,
    jobs.c.error_code, func.substr(jobs.c.request["question"].as_string(), 1, SUMMARY).label("question"),
    readings.c.outcome, readings.c.choice, func.substr(readings.c.answer, 1, SUMMARY).label("answer"),
    _REVIEWS, clock().label("now"),
)  # fmt: skip
_ORDER: Final[dict[Sorting, tuple[ColumnElement[Any], ...]]] = {
    Sorting.NEWEST: (jobs.c.created_at.desc(), jobs.c.id.desc()),
    Sorting.WORKLIST: (jobs.c.asked_level, jobs.c.due_order, jobs.c.created_at, jobs.c.id),
}


def _query(filters: Filters, sorting: Sorting, after: Position | None, count: int) -> Select[Any]:
    chosen = _narrow(filters, sorting, after) if filters.is_narrow else _wide(filters, sorting, after, count)
    ordered = select(*_COLUMNS).outerjoin(readings, readings.c.job_id == jobs.c.id)
    return ordered.where(chosen).order_by(*_ORDER[sorting]).limit(count)


def _narrow(filters: Filters, sorting: Sorting, after: Position | None) -> ColumnElement[bool]:
    where = _where(filters)
    if filters.statuses:
        where.append(jobs.c.status.in_(filters.statuses))
    if filters.priorities:
        where.append(jobs.c.asked_level.in_([priority.level for priority in filters.priorities]))
    if after is not None:
        where.append(_beyond(sorting, after))
    return and_(*where)


def _wide(filters: Filters, sorting: Sorting, after: Position | None, count: int) -> ColumnElement[bool]:
    """The ids of the page: one branch for each status and priority, each read in order from an index.

    So a page costs the same however many jobs there are, and no branch gives more than a page.
    """
    where, branches = _where(filters), []
    for status in filters.statuses or Status:
        for priority in filters.priorities or Priority:
            branch = select(jobs.c.id, jobs.c.asked_level, jobs.c.due_order, jobs.c.created_at)
            branch = branch.where(jobs.c.status == status, jobs.c.asked_level == priority.level, *where)
            if after is not None:
                if sorting is Sorting.WORKLIST and priority.level < after.level:
                    continue
                if sorting is Sorting.NEWEST or priority.level == after.level:
                    branch = branch.where(_beyond_in_branch(sorting, after))
            branches.append(branch.order_by(*_ORDER[sorting]).limit(count))
    every = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
    newest = (every.c.created_at.desc(), every.c.id.desc())
    worklist = (every.c.asked_level, every.c.due_order, every.c.created_at, every.c.id)
    order = newest if sorting is Sorting.NEWEST else worklist
    return jobs.c.id.in_(select(every.c.id).order_by(*order).limit(count))


def _beyond(sorting: Sorting, after: Position) -> ColumnElement[bool]:
    if sorting is Sorting.NEWEST:
        return tuple_(jobs.c.created_at, jobs.c.id) < (after.created_at, after.id)
    place = (after.level, after.due or FAR_FUTURE, after.created_at, after.id)
    return tuple_(jobs.c.asked_level, jobs.c.due_order, jobs.c.created_at, jobs.c.id) > place


def _beyond_in_branch(sorting: Sorting, after: Position) -> ColumnElement[bool]:
    if sorting is Sorting.NEWEST:
        return _beyond(sorting, after)
    place = (after.due or FAR_FUTURE, after.created_at, after.id)
    return tuple_(jobs.c.due_order, jobs.c.created_at, jobs.c.id) > place


def _where(filters: Filters) -> list[ColumnElement[bool]]:
    c, where = jobs.c, []
    if filters.created_after is not None:
        where.append(c.created_at >= filters.created_after)
    if filters.created_before is not None:
        where.append(c.created_at < filters.created_before)
    if filters.submitter is not None:
        where.append(c.submitter == filters.submitter)
    if filters.correlation_id is not None:
        where.append(c.correlation_id == filters.correlation_id)
    for name, value in filters.labels.items():
        where.append(c.request[("labels", name)].as_string() == value)
    of_case = [
        column == value
        for column, value in (
            (cases.c.domain, filters.domain),
            (cases.c.accession, filters.accession),
            (cases.c.slide, filters.slide),
        )
        if value is not None
    ]  # fmt: skip
    if of_case:
        asked = select(asks.c.job_id).join(cases).where(asks.c.job_id.is_not(None), *of_case)
        where.append(c.id.in_(asked))
    return where


def _origins(connection: Connection, rows: Sequence[Row[Any]]) -> dict[str | None, Origin]:
    """By the id of the job that the order made: of these, or of those that these ask again."""
    ids = {row.id for row in rows} | {row.rerun_of for row in rows if row.rerun_of}
    submitted = and_(audit.c.job_id == asks.c.job_id, audit.c.action == Action.SUBMITTED)
    query: Select[Any] = (
        select(
            asks.c.job_id, asks.c.protocol, cases.c.id.label("case_id"), cases.c.domain, cases.c.accession,
            cases.c.slide, messages.c.channel, messages.c.application, messages.c.facility,
        )
        .join(cases, asks.c.case_id == cases.c.id)
        .outerjoin(audit, submitted)
        .outerjoin(messages, messages.c.id == audit.c.message_id)
        .where(asks.c.job_id.in_(sorted(ids)))
    )  # fmt: skip
    return {row.job_id: _origin(row) for row in connection.execute(query)}


def _origin(row: Row[Any]) -> Origin:
    return Origin(
        case_id=row.case_id, domain=row.domain, accession=row.accession, slide=row.slide,
        protocol=row.protocol, channel=row.channel or "", application=row.application or "",
        facility=row.facility or "",
    )  # fmt: skip


def _listed(row: Row[Any], origin: Origin | None) -> Listed:
    status = Status(row.status)
    until = row.finished_at if status in TERMINAL and row.finished_at else row.now
    return Listed(
        id=row.id, status=status, priority=tuple(Priority)[row.asked_level], attempt=row.attempt,
        cancel_requested=row.cancel_requested, created_at=row.created_at,
        due_at=None if row.due_order == FAR_FUTURE else row.due_order, finished_at=row.finished_at,
        age=max(0.0, (until - row.created_at).total_seconds()), submitter=row.submitter,
        correlation_id=row.correlation_id, rerun_of=row.rerun_of, error_code=row.error_code,
        question=row.question or "", outcome=ReadingOutcome(row.outcome) if row.outcome else None,
        choice=row.choice, answer=row.answer, reviews=row.reviews, origin=origin,
    )  # fmt: skip


def _position(row: Row[Any]) -> Position:
    return Position(row.created_at, row.id, row.asked_level, row.due_order)
