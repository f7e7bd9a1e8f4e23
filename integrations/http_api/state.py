"""What the routes work with, and how they find out who is asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from worker.errors import NotAllowed
from worker.store.jobs import Jobs
from worker.store.keys import ApiKey, Keys
from worker.store.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    jobs: Jobs
    outbox: Outbox
    keys: Keys
    uploads_dir: Path
    max_upload_bytes: int
    #: of the disk, left free for others
    reserve_bytes: int
    max_body_bytes: int
    #: "there is work"; returns at once
    ring: Callable[[], object]
    #: name -> raises a PathlaneError with the reason why that part is not ready
    checks: dict[str, Callable[[], Any]]
    #: how many workers are alive; a gateway without any is ready, since jobs may wait for them
    workers: Callable[[], int]
    #: takes one FHIR notification (headers, body); None where no subscription is set up
    notified: Callable[[Mapping[str, str], bytes], None] | None = None


def api_of(request: Request) -> Api:
    api: Api = request.app.state.api
    return api


def asker(
    api: Annotated[Api, Depends(api_of)],
    authorization: Annotated[str, Header(description="`Bearer` and an API key")] = "",
) -> ApiKey:
    """The key that was shown. Raises NotAllowed."""
    scheme, _, key = authorization.partition(" ")
    shown = api.keys.shown(key.strip()) if scheme.lower() == "bearer" and key.strip() else None
    if shown is None:
        raise NotAllowed
    return shown


Parts = Annotated[Api, Depends(api_of)]
Asker = Annotated[ApiKey, Depends(asker)]
