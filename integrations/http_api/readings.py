"""Readings: what the model said, with the exact pictures it was shown.

In: a job. Out: its reading; and each picture, where it was kept, as PNG. Who is given either is written down.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from integrations.http_api.access import Reading as Reader
from integrations.http_api.answers import USUAL, answer, answers
from integrations.http_api.documents import JobId, ReadingWithPictures
from integrations.http_api.jobs import NoneMatch, is_known
from integrations.http_api.state import Api, Parts
from integrations.view import reading_document
from worker.errors import NotFound, PatchNotKept
from worker.jobs.reading import PatchRecord
from worker.uploads import patch_path

router = APIRouter(tags=["readings"])

_PNG: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture.", "content": {"image/png": {}}},
    304: {"description": "It is as it was; it never changes."},
}


@router.get(
    "/v1/jobs/{job_id}/reading", response_model=ReadingWithPictures, summary="What the model said, and saw",
    responses=USUAL | answers(404),
)  # fmt: skip
def reading(job_id: JobId, api: Parts, asker: Reader) -> Response:
    """404 while there is none. `pictures` says where each patch's picture is, if it was kept."""
    found = api.stores.jobs.hand_out(job_id, actor=asker.actor)
    if found is None:
        raise NotFound
    document = reading_document(found)
    pictures = [
        patch | {"url": f"/v1/jobs/{job_id}/patches/{number}" if _is_kept(api, record) else None}
        for number, (patch, record) in enumerate(
            zip(document["provenance"]["patches"], found.provenance.patches, strict=True)
        )
    ]
    return answer(
        document | {"job_id": job_id, "pictures": pictures}, headers={"Cache-Control": "private, no-cache"}
    )


@router.get(
    "/v1/jobs/{job_id}/patches/{number}", response_class=FileResponse,
    summary="A picture the model was shown",
    responses=USUAL | answers(404) | _PNG,
)  # fmt: skip
async def patch(
    job_id: JobId,
    number: Annotated[int, Path(ge=0, le=9999, description="Its place in the reading's patches, from 0.")],
    api: Parts,
    asker: Reader,
    if_none_match: NoneMatch = None,
) -> Response:
    """Pixel by pixel what went to the model. 404 `patch_not_kept` where it was not kept."""
    found = await run_in_threadpool(api.stores.jobs.reading, job_id)
    if found is None or number >= len(found.provenance.patches):
        raise NotFound
    record = found.provenance.patches[number]
    tag = f'"{record.pixels_digest}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, max-age=31536000, immutable",
        "Vary": "Authorization, Cookie",
    }
    if is_known(tag, if_none_match):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    place = patch_path(api.uploads_dir, record.pixels_digest, record.width)
    if not place.is_file():
        raise PatchNotKept
    await run_in_threadpool(api.stores.jobs.hand_out, job_id, actor=asker.actor)
    return FileResponse(place, media_type="image/png", headers=headers)


def _is_kept(api: Api, record: PatchRecord) -> bool:
    try:
        return patch_path(api.uploads_dir, record.pixels_digest, record.width).is_file()
    except PatchNotKept:
        return False
