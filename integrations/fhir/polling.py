"""Polling: a FHIR server that tells nobody is asked what has changed.

In: a server, what to watch, a cursor. Out: what was heard, and the next cursor, to be kept in one transaction
with it. It keeps nothing and has no clock: time is the server's own `meta.lastUpdated`.

Each poll begins a little before the last one ended. Resources written in the same instant, or by a
transaction that was slow to become visible, are met then; what is met twice comes under the same source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from integrations.fhir.client import FhirServer
from integrations.fhir.elements import Element, each, instant, one, text
from integrations.fhir.gathering import gathered
from integrations.fhir.orders import Heard, orders_of
from worker.jobs.order import Sender

OVERLAP: Final = timedelta(minutes=2)
PAGE: Final = 50
#: of one poll; the next one goes on
PAGES: Final = 20

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far one watch has come."""

    #: `meta.lastUpdated` of the newest resource met; None before the first poll
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One search, repeated."""

    kind: str
    parameters: Pairs
    #: in place of `parameters`, once there is a cursor
    later: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Polled:
    heard: Heard
    cursor: Cursor
    #: there is more: poll again at once
    is_more: bool


def tasks(owner: str) -> Watch:
    """Tasks given to us: `owner` is `Device/<id>`. Later on, those that were taken back too."""
    mine = (("owner", owner), ("_include", "Task:focus"))
    return Watch(
        kind="Task",
        parameters=(*mine, ("status", "requested")),
        later=(*mine, ("status", "requested,cancelled,entered-in-error")),
    )


def requests(*parameters: tuple[str, str]) -> Watch:
    """Orders, narrowed by search parameters of the operator's: `("code", "http://snomed.info/sct|726007")`."""
    included = (("_include", "ServiceRequest:subject"), ("_include", "ServiceRequest:specimen"))
    return Watch(kind="ServiceRequest", parameters=(*parameters, *included))


def studies(*parameters: tuple[str, str]) -> Watch:
    """Slide images: a study that becomes available does not change its request."""
    included = (("_include", "ImagingStudy:basedon"), ("_include", "ImagingStudy:subject"))
    return Watch(kind="ImagingStudy", parameters=(("modality", "SM"), *parameters, *included))


def reports(*parameters: tuple[str, str]) -> Watch:
    """Reports that were signed out."""
    included = (("_include", "DiagnosticReport:specimen"), ("_include", "DiagnosticReport:based-on"))
    status = ("status", "final,amended,corrected,appended")
    return Watch(kind="DiagnosticReport", parameters=(status, *parameters, *included))


def poll(
    server: FhirServer,
    watch: Watch,
    cursor: Cursor,
    *,
    sender: Sender,
    ours: str,
    overlap: timedelta = OVERLAP,
    pages: int = PAGES,
) -> Polled:
    """What has changed since `cursor`.

    Raises FhirUnavailable, FhirRejected, TokenRefused, AddressRefused; then nothing was heard, and the old
    cursor stands.
    """
    heard: list[Heard] = []
    times: list[datetime] = []
    more = False
    for page in server.search(watch.kind, _query(watch, cursor, overlap), pages=pages):
        heard.append(orders_of(gathered(server, page), sender=sender, ours=ours))
        times += _times(page, watch.kind)
        more = any(text(link, "relation") == "next" for link in each(page, "link"))
    return Polled(heard=_together(heard), cursor=_next(cursor, times, is_whole=not more), is_more=more)


def _query(watch: Watch, cursor: Cursor, overlap: timedelta) -> list[tuple[str, str]]:
    chosen = watch.later or watch.parameters
    query = [*(chosen if cursor.since else watch.parameters)]
    if cursor.since:
        since = (cursor.since - overlap).astimezone(UTC).isoformat(timespec="milliseconds")
        query.append(("_lastUpdated", f"ge{since.replace('+00:00', 'Z')}"))
    return [*query, ("_sort", "_lastUpdated"), ("_count", str(PAGE))]


def _next(cursor: Cursor, times: Sequence[datetime], *, is_whole: bool) -> Cursor:
    """Up to the newest that was met; of a part only where the server sorted as it was asked to."""
    if not times or not (is_whole or list(times) == sorted(times)):
        return cursor
    return Cursor(since=max(times) if cursor.since is None else max(cursor.since, *times))


def _times(page: Element, kind: str) -> list[datetime]:
    """Of the matches alone: what was included may be newer than matches on later pages."""
    resources: list[Any] = [
        one(entry, "resource")
        for entry in each(page, "entry")
        if text(one(entry, "search"), "mode") in ("", "match")
    ]
    stamps = (text(one(r, "meta"), "lastUpdated") for r in resources if text(r, "resourceType") == kind)
    return [stamp for stamp in map(instant, stamps) if stamp is not None]


def _together(heard: Sequence[Heard]) -> Heard:
    """Each announcement once: pages share what they include."""
    once = {a.source: a for part in heard for a in part.announcements}
    refusals = tuple(refusal for part in heard for refusal in part.refusals)
    return Heard(announcements=tuple(once.values()), refusals=refusals)
