"""Access: who is asking, and whether they may.

In: the `Authorization` header, or the console's cookie. Out: a Caller; or NotAllowed (401), ScopeMissing
(403), RateLimited (429). A browser sends cookies by itself, so a cookie alone changes nothing: the request
must also say that it comes from the console's own page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from integrations.http_api.limits import STATE
from integrations.http_api.state import Api, Parts
from worker.errors import NotAllowed, ScopeMissing
from worker.jobs.scope import Scope
from worker.store.keys import ApiKey
from worker.store.passes import Session

HEADER: Final = "x-pathlane-console"
_SAFE: Final = frozenset({"GET", "HEAD"})

bearer: Final = HTTPBearer(
    auto_error=False, scheme_name="key", description="An API key (`pathlane key add`)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    #: what its requests are counted under
    id: str
    #: whose jobs and idempotency keys they are
    name: str
    #: as the audit names it
    actor: str
    scopes: frozenset[Scope]

    @property
    def may_read(self) -> bool:
        return Scope.READ in self.scopes


def caller(
    request: Request,
    api: Parts,
    shown: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """Raises NotAllowed, RateLimited."""
    if shown is not None:
        key = api.stores.keys.shown(shown.credentials.strip())
        counted = key.id if key is not None else ""
    else:
        session = signed(request, api)
        key, counted = session.key, session.id
    if key is None:
        raise NotAllowed
    allowance = api.limits.take(counted)
    if allowance is not None:
        setattr(request.state, STATE, allowance)
        allowance.check()
    return _caller(key, counted)


def _caller(key: ApiKey, counted: str) -> Caller:
    return Caller(id=counted, name=key.name, actor=key.actor, scopes=key.scopes)


def signed(request: Request, api: Parts) -> Session:
    """The session whose cookie was sent. Raises NotAllowed."""
    if request.method not in _SAFE and not is_of_the_console(request):
        raise NotAllowed
    session = session_of(api, request.cookies.get(cookie_name(api), ""))
    if session is None:
        raise NotAllowed
    return session


Signed = Annotated[Session, Depends(signed)]


def session_of(api: Api, word: str) -> Session | None:
    return api.stores.passes.shown(word) if word else None


def cookie_name(api: Api) -> str:
    """`__Host-` (RFC 6265bis, 4.1.3.2): no other host of the domain can have set it."""
    return "__Host-pathlane" if api.is_https else "pathlane"


def is_of_the_console(request: Request) -> bool:
    """Whether the console's own page asked: another site's form or picture cannot set this header, and its
    script may not without CORS, which nothing here allows."""
    headers = request.headers
    if headers.get(HEADER) != "1" or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _with(*scopes: Scope) -> Callable[[Caller], Caller]:
    """Whoever has one of these."""

    def check(known: Annotated[Caller, Depends(caller)]) -> Caller:
        if not known.scopes.intersection(scopes):
            raise ScopeMissing(f"One of these is needed: {', '.join(scopes)}.")
        return known

    return check


Submitting = Annotated[Caller, Depends(_with(Scope.SUBMIT))]
#: taking back and asking again are a submitter's and an operator's
Steering = Annotated[Caller, Depends(_with(Scope.SUBMIT, Scope.OPERATE))]
Reading = Annotated[Caller, Depends(_with(Scope.READ))]
Reviewing = Annotated[Caller, Depends(_with(Scope.REVIEW))]
Operating = Annotated[Caller, Depends(_with(Scope.OPERATE))]
Watching = Annotated[Caller, Depends(_with(Scope.READ, Scope.OPERATE))]
