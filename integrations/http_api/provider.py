"""Provider: a browser goes to the hospital's OpenID provider and comes back signed in.

In: two navigations of a browser. Out: redirections; at the end one to the console, with a link that opens
once, as `pathlane console` prints it. What the provider says is checked in `integrations.sign_on`.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from integrations.console.pages import HEADERS, PATH
from integrations.http_api.state import Api, Parts
from worker import log
from worker.errors import NotAllowed, PathlaneError, PeerUnavailable, ScopeMissing

if TYPE_CHECKING:
    from integrations.sign_on import Person, Provider, SignIn

AWAY: Final = "/v1/session/provider"
BACK: Final = f"{AWAY}/back"
#: for typing a password and a second factor
SECONDS: Final = 600
#: of the link into the console, which the browser follows at once
LINK_SECONDS: Final = 60.0
#: what the console says for an error; its page has the words
SAID: Final[dict[type[PathlaneError], str]] = {
    NotAllowed: "failed", ScopeMissing: "denied", PeerUnavailable: "unavailable",
}  # fmt: skip

logger = log.get(__name__)
router = APIRouter(include_in_schema=False)

Told = Annotated[str, Query(max_length=4096)]


@router.get(AWAY)
def away(api: Parts) -> Response:
    provider, word = _provider(api), secrets.token_urlsafe(32)
    try:
        address = provider.address(_sign_in(word))
    except PeerUnavailable as error:
        return _refused(error)
    made = _to(address)
    # Lax, as the provider's page is another site: with Strict the browser would come back without it.
    made.set_cookie(
        _cookie_name(api), word, max_age=SECONDS, path="/", secure=api.is_https, httponly=True, samesite="lax"
    )
    return made


@router.get(BACK)
def back(request: Request, api: Parts, code: Told = "", state: Told = "") -> Response:
    """Only the browser that went away comes back: its cookie and `state` follow from one word."""
    provider, sign_in = _provider(api), _sign_in(request.cookies.get(_cookie_name(api), ""))
    try:
        made = _to(f"{PATH}#link={_link(api, provider.person(sign_in, code=code, state=state))}")
    except (NotAllowed, ScopeMissing, PeerUnavailable) as error:
        made = _refused(error)
    made.delete_cookie(_cookie_name(api), path="/", secure=api.is_https, httponly=True, samesite="lax")
    return made


def _link(api: Api, person: Person) -> str:
    """Raises ScopeMissing where somebody revoked the person's key here."""
    key = api.stores.keys.vouched(
        person.identity, person.name, scopes=person.scopes, seconds=api.session_seconds
    )
    if key is None:
        raise ScopeMissing
    word = secrets.token_urlsafe(32)
    api.stores.passes.link(key.id, word, seconds=LINK_SECONDS, actor=key.actor)
    return word


def _sign_in(word: str) -> SignIn:
    from integrations.sign_on import SignIn  # noqa: PLC0415  most gateways need none of it

    return SignIn(word)


def _provider(api: Api) -> Provider:
    if api.provider is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return api.provider


def _refused(error: PathlaneError) -> Response:
    said = SAID[type(error)]
    logger.warning("sign_on.refused", said=said, reason=getattr(error, "reason", ""))
    return _to(f"{PATH}#sign-in={said}")


def _to(address: str) -> Response:
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, HEADERS | {"Cache-Control": "no-store"})


def _cookie_name(api: Api) -> str:
    return "__Host-pathlane-sign-on" if api.is_https else "pathlane-sign-on"
