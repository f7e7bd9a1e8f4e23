"""The worklist: jobs page by page, by filters in the URL, or, where a filter is text of a case, in a body.

In: filters, an order, a cursor. Out: a page. Cursors skip and repeat nothing, whatever comes or changes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field, StringConstraints

from integrations.http_api.access import Caller, Reading
from integrations.http_api.answers import USUAL, answer
from integrations.http_api.cursors import cursor_of, list_name, position_of
from integrations.http_api.documents import Cursor, Given, JobPage
from integrations.http_api.state import Api, Parts
from integrations.view import listed_document
from worker.jobs.job import Status
from worker.jobs.request import LabelText, Moment, OwnId, Priority
from worker.store.listing import Filters, Sorting

MOST: Final = 1000

router = APIRouter(tags=["jobs"])

CaseWord = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
#: names of labels that can be looked for
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z_.-]+$")]


class Selection(Given):
    """Which jobs, in which order."""

    status: Annotated[list[Status], Field(max_length=5, default_factory=list)]
    priority: Annotated[list[Priority], Field(max_length=3, default_factory=list)]
    created_after: Annotated[Moment | None, Field(description="From then on.")] = None
    created_before: Annotated[Moment | None, Field(description="Before then.")] = None
    submitter: OwnId | None = None
    correlation_id: OwnId | None = None
    order: Sorting = Sorting.NEWEST
    cursor: Cursor = None

    @property
    def filters(self) -> dict[str, Any]:
        return {
            "statuses": tuple(dict.fromkeys(self.status)), "priorities": tuple(dict.fromkeys(self.priority)),
            "created_after": self.created_after, "created_before": self.created_before,
            "submitter": self.submitter, "correlation_id": self.correlation_id,
        }  # fmt: skip


class JobsQuery(Selection):
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    answers: Annotated[bool, Field(description="Whether answers are listed, which is written down.")] = True


class JobsSearch(Selection):
    """As the list's own query, and text of a case besides."""

    domain: CaseWord | None = None
    accession: CaseWord | None = None
    slide: CaseWord | None = None
    labels: Annotated[
        dict[LabelName, LabelText],
        Field(
            default_factory=dict,
            max_length=8,
            json_schema_extra={
                "propertyNames": {"minLength": 1, "maxLength": 64, "pattern": r"^[0-9A-Za-z_.-]+$"}
            },
        ),
    ]
    limit: Annotated[int, Field(ge=1, le=MOST, strict=True)] = 100
    answers: Annotated[bool, Field(strict=True)] = True

    @property
    def filters(self) -> dict[str, Any]:
        of_case = {"domain": self.domain, "accession": self.accession, "slide": self.slide}
        return super().filters | of_case | {"labels": self.labels}


@router.get("/v1/jobs", response_model=JobPage, summary="Jobs, page by page", responses=USUAL)
def list_jobs(asked: Annotated[JobsQuery, Query()], api: Parts, asker: Reading) -> Response:
    """`order=worklist`: STAT, urgent, routine; by due time, then age. `order=newest`: the newest first."""
    return _page(api, asked, asker)


@router.post("/v1/jobs/search", response_model=JobPage, summary="Jobs of a case", responses=USUAL)
def search_jobs(asked: JobsSearch, api: Parts, asker: Reading) -> Response:
    """As the list; accession, slide and labels are text of a case, and stand in no URL."""
    return _page(api, asked, asker)


def _page(api: Api, asked: JobsQuery | JobsSearch, asker: Caller) -> Response:
    name = list_name(f"jobs {asked.order.value}", **asked.filters)
    after = position_of(asked.cursor, name)
    page = api.stores.listing.page(Filters(**asked.filters), asked.order, after=after, limit=asked.limit)
    items = [listed_document(one) for one in page.items]
    if asked.answers:
        _write_down(api, items, asker)
    else:
        items = [item | {"choice": None, "answer": None} for item in items]
    return answer({"items": items, "next": cursor_of(page.end, name)}, headers={"Cache-Control": "no-store"})


def _write_down(api: Api, items: list[dict[str, Any]], asker: Caller) -> None:
    """One row for a page: who reads a reading itself is written down by its job."""
    given = sum(1 for item in items if item["answer"])
    if given:
        api.stores.audit.list_out(given, actor=asker.actor)
