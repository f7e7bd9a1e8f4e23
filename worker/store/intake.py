"""Intake: what a hospital's message says becomes rows, in one transaction, before anybody says AA.

In: messages with their orders, and the site's plan. Out: receipts: new, seen before, or in conflict;
jobs to ring for. It knows no wire format and no rule: the plan is a function it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from sqlalchemy import Connection, Table, insert, select, update
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from worker.jobs.order import Channel, Order, Question
from worker.store.desk import Desk
from worker.store.sealing import Seal
from worker.store.session import Database, clock
from worker.store.tables import MessageRow

messages = cast("Table", MessageRow.__table__)


class Taken(StrEnum):
    """What became of a message."""

    NEW = "new"  #: it is in the store now
    AGAIN = "again"  #: it was in the store already: nothing was done twice
    CONFLICT = "conflict"  #: another message came under the same control id


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Arrival:
    """One message, read."""

    channel: Channel
    #: MSH-3 and MSH-4, or what stands for them
    application: str
    facility: str
    #: MSH-10: with the two above, the same on a resend
    control_id: str
    raw: bytes
    orders: tuple[Order, ...]
    is_test: bool = False

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    taken: Taken
    #: ids of jobs that were made
    jobs: tuple[str, ...] = ()
    #: ids of deliveries of jobs that were cancelled
    deliveries: tuple[str, ...] = ()


#: what a site asks about an order, as its rules say
Plan = Callable[[Order], Sequence[Question]]


class Intake:
    def __init__(self, database: Database, seal: Seal, plan: Plan, *, public_url: str = "") -> None:
        self._database = database
        self._seal = seal
        self._plan = plan
        self._public_url = public_url

    def take(self, batch: Sequence[Arrival]) -> list[Receipt]:
        """All of `batch` in one transaction; when it returns, everything is durable.

        Raises StoreUnavailable: then nothing of it is. Receipts come in the order of the messages.
        """
        try:
            with self._database.write() as connection:
                return [self._take(connection, arrival) for arrival in batch]
        except IntegrityError:
            # The same message or case was committed by another connection between our look and our insert.
            with self._database.write() as connection:
                return [self._take(connection, arrival) for arrival in batch]

    def _take(self, connection: Connection, arrival: Arrival) -> Receipt:
        known = connection.execute(
            select(messages.c.digest).where(
                messages.c.channel == arrival.channel, messages.c.application == arrival.application,
                messages.c.facility == arrival.facility, messages.c.control_id == arrival.control_id,
            )
        ).scalar_one_or_none()  # fmt: skip
        if known is not None:
            return Receipt(taken=Taken.AGAIN if known == arrival.digest else Taken.CONFLICT)
        message_id = f"in_{ULID()}"
        connection.execute(insert(messages).values(
            id=message_id, channel=arrival.channel, application=arrival.application,
            facility=arrival.facility, control_id=arrival.control_id, digest=arrival.digest,
            received_at=clock(), is_test=arrival.is_test, sealed=self._seal.close(arrival.raw),
        ))  # fmt: skip
        desk = Desk(
            connection=connection, seal=self._seal, plan=self._plan, public_url=self._public_url,
            message_id=message_id,
        )  # fmt: skip
        for order in arrival.orders:
            desk.take(order)
        return Receipt(taken=Taken.NEW, jobs=tuple(desk.made), deliveries=tuple(desk.told))

    def forget(self, *, days: float) -> int:
        """Empty the text of messages older than `days`; gives how many. What they said stays known."""
        old = update(messages).where(messages.c.received_at < clock(-days * 86_400))
        with self._database.write() as connection:
            return connection.execute(old.where(messages.c.sealed.is_not(None)).values(sealed=None)).rowcount

    def message(self, message_id: str) -> bytes | None:
        """The bytes as they came; None when there is no such message or its text was forgotten."""
        with self._database.read() as connection:
            sealed = connection.execute(
                select(messages.c.sealed).where(messages.c.id == message_id)
            ).scalar_one_or_none()
        return None if sealed is None else self._seal.open(sealed)
