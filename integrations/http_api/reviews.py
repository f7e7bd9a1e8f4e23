"""Reviews: what people say about a reading. They are added, and never changed.

In: a verdict. Out: the review; all reviews of a job, the oldest first. The reading stays as it is.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Response
from pydantic import Field, StringConstraints

from integrations.http_api.access import Reading, Reviewing
from integrations.http_api.answers import USUAL, answer, answers
from integrations.http_api.cursors import cursor_of, list_name, position_of
from integrations.http_api.documents import Cursor, Given, JobId, ReviewPage, ReviewShown, Words
from integrations.http_api.jobs import IdempotencyKey
from integrations.http_api.state import Parts
from integrations.view import review_document
from worker.jobs.request import WORDS
from worker.jobs.review import Verdict

router = APIRouter(tags=["reviews"])


class Judged(Given):
    verdict: Literal["agree", "disagree"]
    comment: Words = ""


class Corrected(Given):
    verdict: Literal["correct"]
    comment: Words = ""
    corrected_answer: Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=WORDS)]


class ReviewsQuery(Given):
    cursor: Cursor = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


@router.post(
    "/v1/jobs/{job_id}/reviews", status_code=HTTPStatus.CREATED, response_model=ReviewShown,
    summary="Say whether a reading is right", responses=USUAL | answers(404, 409),
    openapi_extra={
        "requestBody": {"content": {"application/json": {
            "example": {"verdict": "correct", "comment": "No tissue here.", "corrected_answer": "No tissue"},
        }}}
    },
)  # fmt: skip
def add_review(
    job_id: JobId,
    body: Annotated[Judged | Corrected, Body(discriminator="verdict")],
    api: Parts,
    asker: Reviewing,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """`agree`, `disagree`, or `correct` with the right answer. 409 while there is no reading."""
    added = api.stores.reviews.add(
        job_id, Verdict(body.verdict), reviewer=asker.actor, comment=body.comment,
        corrected_answer=body.corrected_answer if isinstance(body, Corrected) else None,
        idempotency_key=(idempotency_key or "").strip() or None,
    )  # fmt: skip
    return answer(review_document(added), HTTPStatus.CREATED)


@router.get(
    "/v1/jobs/{job_id}/reviews", response_model=ReviewPage, summary="What people said about a reading",
    responses=USUAL | answers(404),
)  # fmt: skip
def list_reviews(job_id: JobId, asked: Annotated[ReviewsQuery, Query()], api: Parts, _: Reading) -> Response:
    """The oldest first."""
    name = list_name("reviews", job_id=job_id)
    page = api.stores.reviews.page(job_id, after=position_of(asked.cursor, name), limit=asked.limit)
    items = [review_document(one) for one in page.items]
    return answer({"items": items, "next": cursor_of(page.end, name)})
