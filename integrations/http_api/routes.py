"""The routes of version 1: submit, upload, get, cancel; and the two probes.

In: checked requests of a known asker. Out: JSON. What a job may say is decided in `integrations.view`,
what is stored in `worker.store`.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from integrations import account
from integrations.http_api.state import Api, Asker, Parts
from integrations.view import job_document
from worker import log
from worker.errors import InvalidRequest, NotFound, PathlaneError, StoreUnavailable
from worker.jobs.job import Job
from worker.jobs.request import JobRequest
from worker.uploads import Draft

router = APIRouter()

logger = log.get(__name__)


@router.post("/v1/jobs", status_code=HTTPStatus.ACCEPTED, summary="Ask a question about one or more images")
def submit(
    *,
    body: JobRequest,
    response: Response,
    api: Parts,
    asker: Asker,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    traceparent: Annotated[
        str | None, Header(description="W3C Trace Context: the job joins this trace")
    ] = None,
) -> dict[str, Any]:
    """202: stored, and it will end. 200: the same request had been accepted under this key before."""
    began = account.now()
    request = _with_key(body, idempotency_key)
    submission = api.jobs.submit(request, submitter=asker.name, actor=asker.actor, traceparent=traceparent)
    api.ring()
    job = submission.job
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if submission.is_new:
        account.taken_in([job.id], channel="http", began=began, traceparent=job.traceparent)
    else:
        response.status_code = HTTPStatus.OK
    return _document(api, job, asker)


@router.get("/v1/jobs/{job_id}", summary="One job, with its reading and deliveries")
def get(job_id: str, api: Parts, asker: Asker) -> dict[str, Any]:
    """Who is given a reading is written down first; while it cannot be, the answer is 503."""
    return _document(api, api.jobs.get(job_id), asker)


@router.post("/v1/jobs/{job_id}/cancel", status_code=HTTPStatus.ACCEPTED, summary="Take a job back")
def cancel(job_id: str, api: Parts, asker: Asker) -> dict[str, Any]:
    """A queued job is cancelled at once, a running one within a step; an ended one stays as it is."""
    job, _ = api.jobs.cancel(job_id, actor=asker.actor)
    logger.info("job.cancel_asked", job_id=job.id, status=job.status.value)
    return _document(api, job, asker)


@router.post("/v1/uploads", status_code=HTTPStatus.CREATED, summary="Send the bytes of an image")
async def upload(request: Request, api: Parts, asker: Asker) -> dict[str, str]:
    """The body is the file itself. The answer's `reference` stands for it in a job's `images`."""
    del asker
    draft = await run_in_threadpool(
        Draft, api.uploads_dir, max_bytes=api.max_upload_bytes, reserve_bytes=api.reserve_bytes
    )
    try:
        async for chunk in request.stream():
            await run_in_threadpool(draft.write, chunk)
        return {"reference": await run_in_threadpool(draft.keep)}
    finally:
        draft.discard()


@router.post(
    "/v1/fhir/notifications", status_code=HTTPStatus.NO_CONTENT, summary="A FHIR subscription's notification"
)
async def notification(request: Request, api: Parts) -> Response:
    """204 once what it tells is in the store. The subscription's own secret lets it in, not an API key."""
    if api.notified is None:
        raise NotFound
    body = await request.body()
    await run_in_threadpool(api.notified, dict(request.headers), body)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/healthz", summary="Whether this process answers")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether it can take jobs, and if not, why")
def readyz(api: Parts) -> JSONResponse:
    """`workers` is how many are alive, or null. None is no reason: what is accepted waits for them."""
    reasons = {name: reason for name, check in api.checks.items() if (reason := _reason(check))}
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    said = {
        "status": "not ready" if reasons else "ready",
        "reasons": reasons,
        "workers": _workers(api),
    }
    return JSONResponse(said, status.value)


def _workers(api: Api) -> int | None:
    try:
        return api.workers()
    except StoreUnavailable:
        return None


def _reason(check: Callable[[], Any]) -> str:
    try:
        check()
    except PathlaneError as error:
        return error.public
    return ""


def _with_key(body: JobRequest, header: str | None) -> JobRequest:
    if not header:
        return body
    if body.idempotency_key not in (None, header):
        raise InvalidRequest((("idempotency_key", "differs from the Idempotency-Key header"),))
    return body.model_copy(update={"idempotency_key": header})


def _document(api: Api, job: Job, asker: Asker) -> dict[str, Any]:
    deliveries = api.outbox.of_job(job.id)
    return job_document(job, api.jobs.hand_out(job.id, actor=asker.actor), deliveries)
