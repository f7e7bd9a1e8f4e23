"""Jobs: submit one or many, get, take back, ask again.

In: checked requests of a known caller. Out: JSON. What a job may say is decided in `integrations.view`, what
is stored in `worker.store`.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from pydantic import Field

from integrations import account
from integrations.http_api.access import Caller, Reading, Steering, Submitting
from integrations.http_api.answers import USUAL, answer, answers
from integrations.http_api.documents import BatchShown, Given, JobId, JobShown
from integrations.http_api.problems import problem_document
from integrations.http_api.state import Api, Parts
from integrations.view import job_document
from worker import log
from worker.errors import InputError, InvalidRequest, PathlaneError, QueueFull
from worker.jobs.job import Job
from worker.jobs.request import JobRequest, parse_request
from worker.store.submitting import Submission

MOST_IN_A_BATCH: Final = 100
_EXAMPLE: Final = {
    "images": [{"reference": "upload:sha256-" + "0" * 64}],
    "question": "Which stain is shown?",
    "options": ["Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue"],
    "priority": "stat",
}

router = APIRouter(tags=["jobs"])

logger = log.get(__name__)

IdempotencyKey = Annotated[
    str | None,
    Header(max_length=200, description="The same key and request give the same job, however often."),
]
Traceparent = Annotated[
    str | None, Header(description="W3C Trace Context: jobs join this trace; one that is not valid is none.")
]
NoneMatch = Annotated[str | None, Header(alias="If-None-Match", description="An earlier answer's `ETag`.")]

_ETAG: Final = {"ETag": {"description": "Weak; changes with the job.", "schema": {"type": "string"}}}
_LOCATION: Final = {"Location": {"description": "The job.", "schema": {"type": "string"}}}
_BEFORE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": JobShown, "description": "Accepted before under this key.", "headers": _LOCATION}
}


class Batch(Given):
    """Up to a hundred requests. Each is stored or says why not; what is wrong with one keeps no other out."""

    jobs: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1,
            max_length=MOST_IN_A_BATCH,
            json_schema_extra={
                "items": {"anyOf": [{"$ref": "#/components/schemas/JobRequest"}, {"type": "object"}]},
                "examples": [[_EXAMPLE | {"idempotency_key": "case-4711"}]],
            },
        ),
    ]


@router.post(
    "/v1/jobs", status_code=HTTPStatus.ACCEPTED, response_model=JobShown,
    summary="Ask a question about one or more images",
    responses=USUAL | answers(409) | _BEFORE,
    openapi_extra={"requestBody": {"content": {"application/json": {"example": _EXAMPLE}}}},
)  # fmt: skip
def submit(
    *, body: JobRequest, api: Parts, asker: Submitting,
    idempotency_key: IdempotencyKey = None, traceparent: Traceparent = None,
) -> Response:  # fmt: skip
    """202: stored, and it will end. 200: the same request had been accepted under this key before."""
    began = account.now()
    request = _with_key(body, idempotency_key)
    submission = api.stores.jobs.submit(
        request, submitter=asker.name, actor=asker.actor, traceparent=traceparent
    )
    api.ring()
    return _submitted(api, submission, asker, began=began)


@router.post(
    "/v1/jobs/batch", status_code=HTTPStatus.MULTI_STATUS, response_model=BatchShown,
    summary="Ask up to a hundred questions", responses=USUAL,
)  # fmt: skip
def submit_batch(*, body: Batch, api: Parts, asker: Submitting, traceparent: Traceparent = None) -> Response:
    """207: for each request its own status. All that are stored are stored in one transaction."""
    began = account.now()
    asked = [_parsed(one) for one in body.jobs]
    requests = [one for one in asked if isinstance(one, JobRequest)]
    came = iter(api.stores.jobs.submit_each(
        requests, submitter=asker.name, actor=asker.actor, traceparent=traceparent
    ))  # fmt: skip
    results = [next(came) if isinstance(one, JobRequest) else one for one in asked]
    if any(isinstance(result, Submission) for result in results):
        api.ring()
    for result in results:
        _account(result, began=began)
    return answer({"items": [_batch_item(result) for result in results]}, HTTPStatus.MULTI_STATUS)


@router.get(
    "/v1/jobs/{job_id}", response_model=JobShown, summary="One job, with its reading and deliveries",
    responses=USUAL | answers(404)
    | {200: {"headers": _ETAG}, 304: {"description": "It is as it was.", "headers": _ETAG}},
)  # fmt: skip
def get(job_id: JobId, api: Parts, asker: Reading, if_none_match: NoneMatch = None) -> Response:
    """Who is given a reading is written down first; while it cannot be, the answer is 503."""
    job = api.stores.jobs.get(job_id)
    deliveries = api.stores.outbox.of_job(job.id)
    reviews = api.stores.reviews.count(job.id)
    tag = _tag(job, deliveries, reviews)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
    if is_known(tag, if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    reading = api.stores.jobs.hand_out(job.id, actor=asker.actor)
    origin = api.stores.listing.origin(job.id)
    return answer(job_document(job, reading, deliveries, reviews=reviews, origin=origin), headers=headers)


@router.post(
    "/v1/jobs/{job_id}/cancel", status_code=HTTPStatus.ACCEPTED, response_model=JobShown,
    summary="Take a job back", responses=USUAL | answers(404),
)  # fmt: skip
def cancel(job_id: JobId, api: Parts, asker: Steering) -> Response:
    """A queued job is cancelled at once, a running one within a step; an ended one stays as it is."""
    job, _ = api.stores.jobs.cancel(job_id, actor=asker.actor)
    logger.info("job.cancel_asked", job_id=job.id, status=job.status.value)
    return answer(_document(api, job, asker), HTTPStatus.ACCEPTED)


@router.post(
    "/v1/jobs/{job_id}/rerun", status_code=HTTPStatus.ACCEPTED, response_model=JobShown,
    summary="Ask again what a job asked", responses=USUAL | answers(404, 409) | _BEFORE,
)  # fmt: skip
def rerun(
    *, job_id: JobId, api: Parts, asker: Steering,
    idempotency_key: IdempotencyKey = None, traceparent: Traceparent = None,
) -> Response:  # fmt: skip
    """A new job with the same request (without its due time), which names this one in `rerun_of`."""
    began = account.now()
    submission = api.stores.jobs.rerun(
        job_id, submitter=asker.name, actor=asker.actor, idempotency_key=_own_key(idempotency_key),
        traceparent=traceparent,
    )  # fmt: skip
    api.ring()
    return _submitted(api, submission, asker, began=began)


def _parsed(body: dict[str, Any]) -> JobRequest | InvalidRequest:
    try:
        return parse_request(body)
    except InvalidRequest as error:
        return error


def _batch_item(result: Submission | InputError | QueueFull) -> dict[str, Any]:
    if isinstance(result, PathlaneError):
        document = problem_document(result)
        return {"status": document["status"], "id": None, "problem": document}
    status = HTTPStatus.ACCEPTED if result.is_new else HTTPStatus.OK
    return {"status": status.value, "id": result.job.id, "problem": None}


def _with_key(body: JobRequest, header: str | None) -> JobRequest:
    key = _own_key(header)
    if key is None:
        return body
    if body.idempotency_key not in (None, key):
        raise InvalidRequest((("idempotency_key", "differs from the Idempotency-Key header"),))
    return body.model_copy(update={"idempotency_key": key})


def _own_key(header: str | None) -> str | None:
    return (header or "").strip() or None


def _account(result: Submission | InputError | QueueFull, *, began: float) -> None:
    if isinstance(result, PathlaneError):
        account.refused(result, channel="http")
    elif result.is_new:
        account.taken_in([result.job.id], channel="http", began=began, traceparent=result.job.traceparent)


def _submitted(api: Api, submission: Submission, asker: Caller, *, began: float) -> Response:
    _account(submission, began=began)
    status = HTTPStatus.ACCEPTED if submission.is_new else HTTPStatus.OK
    job = submission.job
    is_bare = submission.is_new and asker.may_read  # nothing to hand out yet
    document = job_document(job, None) if is_bare else _document(api, job, asker)
    return answer(document, status, {"Location": f"/v1/jobs/{job.id}"})


def _document(api: Api, job: Job, asker: Caller) -> dict[str, Any]:
    """All of it, or, for a key without `read`, what is no text of the case."""
    if not asker.may_read:
        return job_document(job, None) | {"question": None, "options": [], "labels": {}}
    stores = api.stores
    return job_document(
        job, stores.jobs.hand_out(job.id, actor=asker.actor), stores.outbox.of_job(job.id),
        reviews=stores.reviews.count(job.id), origin=stores.listing.origin(job.id),
    )  # fmt: skip


def _tag(job: Job, deliveries: Any, reviews: int) -> str:
    """Of everything that may change in the answer."""
    state = (
        job.status, job.attempt, job.cancel_requested, job.error_code, reviews,
        [(one.id, one.status, one.attempt, one.next_at) for one in deliveries],
    )  # fmt: skip
    return f'W/"{hashlib.sha256(repr(state).encode()).hexdigest()[:32]}"'


def is_known(tag: str, if_none_match: str | None) -> bool:
    """Weak comparison (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return "*" in known or tag.removeprefix("W/") in known
