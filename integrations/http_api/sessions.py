"""Sessions: a person signs in to the console with an API key, or with a link that opens once, and out again.

In: a key or a link, once. Out: a cookie that no script can read, and who it is that signed in. How a cookie
is trusted afterwards is decided in `access`.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import StringConstraints

from integrations.http_api.access import Signed, cookie_name, is_of_the_console, session_of
from integrations.http_api.answers import USUAL, answer, answers
from integrations.http_api.documents import Given, SessionShown, WaysShown
from integrations.http_api.state import Api, Parts
from integrations.view import instant
from worker.errors import NotAllowed
from worker.jobs.scope import Scope
from worker.store.passes import Session

#: what a browser has kept of pictures and readings goes with the session
CLEAR: Final = {"Clear-Site-Data": '"cache"', "Cache-Control": "no-store"}

router = APIRouter(tags=["console"])

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[0-9A-Za-z_-]+$")]


class WithKey(Given):
    key: Word


class WithLink(Given):
    """What stands behind `#link=` in the address that `pathlane up` and `pathlane console` print."""

    link: Word


def _from_the_console(request: Request) -> None:
    """Another site must not sign anybody in."""
    if not is_of_the_console(request):
        raise NotAllowed


@router.post(
    "/v1/session", status_code=HTTPStatus.CREATED, response_model=SessionShown, summary="Sign in",
    responses=answers(401, 413, 422, 503), dependencies=[Depends(_from_the_console)],
)  # fmt: skip
def sign_in(body: WithKey | WithLink, api: Parts) -> Response:
    """Sets a cookie. Needs the header `X-Pathlane-Console: 1`, as does everything a session changes."""
    word = secrets.token_urlsafe(32)
    opened = _opened(api, body, word)
    if opened is None:
        raise NotAllowed
    made = answer(_document(opened), HTTPStatus.CREATED, {"Cache-Control": "no-store"})
    made.set_cookie(
        cookie_name(api), word, max_age=int(api.session_seconds), path="/", secure=api.is_https,
        httponly=True, samesite="strict",
    )  # fmt: skip
    return made


@router.get(
    "/v1/session", response_model=SessionShown, summary="Who is signed in", responses=answers(401, 422, 503)
)
def session(signed: Signed) -> Response:
    return answer(_document(signed), headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/session/ways", response_model=WaysShown, summary="How one may sign in", responses=answers(422)
)
def ways(api: Parts) -> Response:
    """For anybody: an API key always, and what is named here."""
    provider = None if api.provider is None else api.provider.host
    return answer({"provider": provider}, headers={"Cache-Control": "no-store"})


@router.delete(
    "/v1/session", status_code=HTTPStatus.NO_CONTENT, summary="Sign out", responses=USUAL,
    dependencies=[Depends(_from_the_console)],
)  # fmt: skip
def sign_out(request: Request, api: Parts) -> Response:
    """Whether or not somebody was signed in."""
    word = request.cookies.get(cookie_name(api), "")
    if session_of(api, word) is not None:
        api.stores.passes.close(word)
    made = Response(status_code=HTTPStatus.NO_CONTENT, headers=CLEAR)
    made.delete_cookie(cookie_name(api), path="/", secure=api.is_https, httponly=True, samesite="strict")
    return made


def _opened(api: Api, body: WithKey | WithLink, word: str) -> Session | None:
    passes, seconds = api.stores.passes, api.session_seconds
    if isinstance(body, WithLink):
        return passes.redeem(body.link, word, seconds=seconds)
    key = api.stores.keys.shown(body.key)
    return None if key is None else passes.open(key, word, seconds=seconds)


def _document(signed: Session) -> dict[str, Any]:
    scopes = [scope.value for scope in Scope if scope in signed.key.scopes]
    return {"name": signed.key.name, "scopes": scopes, "expires_at": instant(signed.expires_at)}
