"""Pages: the console over HTTP. Anybody may fetch them: they hold nothing but the means to ask the API.

In: requests under `/console/`. Out: files, with headers that let a page run its own scripts and nothing else.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from integrations.console.files import File, console_files

PATH: Final = "/console/"
#: no inline script or style, no other host, no frame; strings never become markup (Trusted Types, no policy)
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
#: a name stands for one content for ever: the version is in it
FOR_EVER: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@router.get("/")
@router.get("/console")
def to_the_console() -> Response:
    return RedirectResponse(PATH, HTTPStatus.TEMPORARY_REDIRECT, HEADERS)


@router.get(PATH)
def page(request: Request) -> Response:
    return _sent(request, console_files().page, "no-cache")


@router.get("/console/assets/{version}/{name}")
def asset(version: str, name: str, request: Request) -> Response:
    known = console_files()
    found = known.assets.get(name) if version == known.version else None
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return _sent(request, found, FOR_EVER)


def _sent(request: Request, file: File, keep: str) -> Response:
    headers = {**HEADERS, "ETag": file.tag, "Cache-Control": keep}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
