"""Uploads: the bytes of images, as they come in.

In: a stream of bytes. Out: the reference that stands for them in a job's `images`.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from integrations.http_api.access import Submitting
from integrations.http_api.answers import USUAL, answer, answers
from integrations.http_api.documents import UploadShown
from integrations.http_api.state import Parts
from worker.errors import InvalidRequest
from worker.uploads import Draft

router = APIRouter(tags=["uploads"])


@router.post(
    "/v1/uploads", status_code=HTTPStatus.CREATED, response_model=UploadShown,
    summary="Send the bytes of an image", responses=USUAL | answers(507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}
            },
        }
    },
)  # fmt: skip
async def upload(request: Request, api: Parts, _: Submitting) -> Response:
    """The body is the file itself. The answer's `reference` stands for it in a job's `images`."""
    draft = await run_in_threadpool(
        Draft, api.uploads_dir, max_bytes=api.max_upload_bytes, reserve_bytes=api.reserve_bytes
    )
    try:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            await run_in_threadpool(draft.write, chunk)
        if not size:
            raise InvalidRequest((("body", "is empty"),))
        return answer({"reference": await run_in_threadpool(draft.keep)}, HTTPStatus.CREATED)
    finally:
        draft.discard()
