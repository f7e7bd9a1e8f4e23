"""Endpoints: who is told, where, about what, and with which secret.

In: names, addresses and secrets. Out: Endpoint values. During a rotation an endpoint has two secrets and
every delivery carries both signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import urlsplit

from sqlalchemy import Row, Table, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from worker.errors import InvalidRequest, NameTaken, NotFound, UnknownEndpoint
from worker.jobs.audit import UNNAMED, Action
from worker.jobs.event import JOB_EVENTS, Endpoint, EndpointStatus, EventType, Payload
from worker.store.audit import note
from worker.store.session import Database, clock
from worker.store.tables import EndpointRow

#: how an endpoint is spoken to: webhook, HL7 over MLLP, FHIR, DICOMweb (STOW-RS), DICOM (C-STORE)
SCHEMES = (
    "http", "https", "mllp", "mllps", "fhir+http", "fhir+https", "dicomweb+http", "dicomweb+https",
    "dicom", "dicom+tls",
)  # fmt: skip

ID_PREFIX: Final = "ep_"

endpoints = cast("Table", EndpointRow.__table__)


class Endpoints:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, name: str, url: str, *, secret: str, event_types: Sequence[EventType] = JOB_EVENTS,
        payload: Payload = Payload.THIN, actor: str = UNNAMED,
    ) -> Endpoint:  # fmt: skip
        """Raises InvalidRequest: a name that is taken, no address, a full payload without encryption."""
        check_address(url, payload)
        if name.startswith(ID_PREFIX):
            raise InvalidRequest((("name", "begins as an id does"),))
        row = {
            "id": f"{ID_PREFIX}{ULID()}", "name": name, "url": url, "status": EndpointStatus.ACTIVE,
            "event_types": [e.value for e in event_types], "payload": payload, "secret": secret,
            "created_at": clock(),
        }  # fmt: skip
        try:
            with self._database.write() as connection:
                added = connection.execute(insert(endpoints).values(row).returning(endpoints)).one()
                note(connection, Action.ENDPOINT_ADDED, actor=actor, subject_id=added.id)
                return endpoint_of(added)
        except IntegrityError:
            raise NameTaken((("name", "is taken by another endpoint"),)) from None

    def get(self, endpoint_id: str) -> Endpoint:
        """Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(endpoints).where(endpoints.c.id == endpoint_id)).one_or_none()
            if row is None:
                raise NotFound
            return endpoint_of(row, connection.execute(select(clock())).scalar_one())

    def all(self) -> list[Endpoint]:
        with self._database.read() as connection:
            now = connection.execute(select(clock())).scalar_one()
            rows = connection.execute(select(endpoints).order_by(endpoints.c.created_at))
            return [endpoint_of(row, now) for row in rows]

    def rotate(self, name: str, *, secret: str, overlap_seconds: float, actor: str = UNNAMED) -> Endpoint:
        """Sign with `secret` from now on, and with the old one too for `overlap_seconds`."""
        return self._change(
            name, Action.ENDPOINT_ROTATED, actor,
            secret=secret, previous_secret=endpoints.c.secret, previous_until=clock(overlap_seconds),
        )  # fmt: skip

    def pause(self, name: str, *, actor: str = UNNAMED) -> Endpoint:
        """Deliveries wait from now on."""
        return self._change(name, Action.ENDPOINT_PAUSED, actor, status=EndpointStatus.PAUSED)

    def resume(self, name: str, *, actor: str = UNNAMED) -> Endpoint:
        return self._change(name, Action.ENDPOINT_RESUMED, actor, status=EndpointStatus.ACTIVE)

    def _change(self, name: str, action: Action, actor: str, **values: Any) -> Endpoint:
        named = or_(endpoints.c.name == name, endpoints.c.id == name)
        change = update(endpoints).where(named).values(**values).returning(endpoints)
        with self._database.write() as connection:
            row = connection.execute(change).one_or_none()
            if row is None:
                raise UnknownEndpoint
            note(connection, action, actor=actor, subject_id=row.id)
            return endpoint_of(row, connection.execute(select(clock())).scalar_one())


def check_address(url: str, payload: Payload) -> None:
    """Raises InvalidRequest: no address that is known, or text of a case where others can read it."""
    try:
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
    except ValueError:  # an unfinished IPv6 address
        scheme, host = "", None
    if scheme not in SCHEMES or not host:
        raise InvalidRequest((("url", f"does not begin with one of {', '.join(SCHEMES)}"),))
    if payload is Payload.FULL and scheme != "https":
        raise InvalidRequest((("payload", "text of a case is sent over https only"),))


def endpoint_of(row: Row[Any], now: datetime | None = None) -> Endpoint:
    """`now` decides whether the previous secret still signs; without it, it does not."""
    overlap = now is not None and row.previous_until is not None and row.previous_until > now
    return Endpoint(
        id=row.id, name=row.name, url=row.url, status=EndpointStatus(row.status),
        event_types=tuple(EventType(e) for e in row.event_types), payload=Payload(row.payload),
        secrets=(row.secret, row.previous_secret) if overlap else (row.secret,),
    )  # fmt: skip
