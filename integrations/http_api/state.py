"""What the routes work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from integrations.http_api.feed import Feed
from integrations.http_api.history import History
from integrations.http_api.limits import Limits
from worker.store.audit import Audit
from worker.store.changes import Changes
from worker.store.deliveries import Deliveries
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.listing import Listing
from worker.store.outbox import Outbox
from worker.store.passes import Passes
from worker.store.presence import Presence
from worker.store.reviews import Reviews

if TYPE_CHECKING:
    from integrations.sign_on import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The tables, as the routes use them."""

    jobs: Jobs
    listing: Listing
    reviews: Reviews
    outbox: Outbox
    deliveries: Deliveries
    endpoints: Endpoints
    keys: Keys
    passes: Passes
    changes: Changes
    audit: Audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    stores: Stores
    uploads_dir: Path
    max_upload_bytes: int
    #: of the disk, left free for others
    reserve_bytes: int
    max_body_bytes: int
    #: "there is work"; returns at once
    ring: Callable[[], object]
    #: name -> raises a PathlaneError with the reason why that part is not ready
    checks: dict[str, Callable[[], Any]]
    #: those that are alive; a gateway without any is ready, since jobs may wait for them
    workers: Callable[[], Sequence[Presence]]
    limits: Limits
    feed: Feed
    history: History
    #: how long one stream of events lasts, in seconds
    stream_seconds: float = 600.0
    #: how long somebody stays signed in to the console
    session_seconds: float = 12 * 3600.0
    #: whether people reach it over https: its cookies go over nothing else then
    is_https: bool = False
    #: where people of the hospital sign in; None where none is set up
    provider: Provider | None = None
    #: a secret of a new endpoint, as Standard Webhooks has them
    new_secret: Callable[[], str] = field(default=lambda: "")
    #: takes one FHIR notification (headers, body); None where no subscription is set up
    notified: Callable[[Mapping[str, str], bytes], None] | None = None


def api_of(request: Request) -> Api:
    api: Api = request.app.state.api
    return api


Parts = Annotated[Api, Depends(api_of)]
