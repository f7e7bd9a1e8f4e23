"""Access: who is asking, and whether they may.

In: the `Authorization` header. Out: a Caller; or NotAllowed (401), ScopeMissing (403), RateLimited (429).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from integrations.http_api.limits import STATE
from integrations.http_api.state import Parts
from worker.errors import NotAllowed, ScopeMissing
from worker.jobs.scope import Scope

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
    key = api.stores.keys.shown(shown.credentials.strip()) if shown is not None else None
    if key is None:
        raise NotAllowed
    allowance = api.limits.take(key.id)
    if allowance is not None:
        setattr(request.state, STATE, allowance)
        allowance.check()
    return Caller(id=key.id, name=key.name, actor=key.actor, scopes=key.scopes)


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
