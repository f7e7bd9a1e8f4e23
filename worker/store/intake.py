"""Intake: what a hospital's message says becomes rows, in one transaction, before anybody says AA.

In: messages with their orders, and the site's plan. Out: receipts: new, seen before, or in conflict;
jobs to ring for. It knows no wire format and no rule: the plan is a function it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from worker.jobs.order import Channel, Order, Question, Verb
from worker.jobs.request import Priority
from worker.store.audit import audit
from worker.store.backlog import Backlog
from worker.store.desk import Desk, asks, cases
from worker.store.hospital_tables import MessageRow
from worker.store.job_rows import jobs
from worker.store.pending import Pending
from worker.store.sealing import Seal
from worker.store.session import Database, clock
from worker.store.submitting import Use, no_use

messages = cast("Table", MessageRow.__table__)


#: channel, application, facility, control id
Key = tuple[str, str, str, str]


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
    def key(self) -> Key:
        return (self.channel.value, self.application, self.facility, self.control_id)

    @property
    def actor(self) -> str:
        """As the audit names it."""
        return f"{self.channel.value}:{self.application}"

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
    def __init__(
        self,
        database: Database,
        seal: Seal,
        plan: Plan,
        *,
        public_url: str = "",
        queue_limit: int = 0,
        archive: str = "",
        use: Use = no_use,
    ) -> None:
        """`archive`: the name of the one where DICOM lies that orders name and that was not sent here."""
        self._database = database
        self._backlog = Backlog(queue_limit)
        self._seal = seal
        self._plan = plan
        self._public_url = public_url
        self._archive = archive
        self._use = use

    def take(self, batch: Sequence[Arrival]) -> list[Receipt]:
        """All of `batch` in one transaction; when it returns, everything is durable.

        Raises StoreUnavailable, QueueFull: then nothing of it is. Receipts come in the messages' order.

        Orders are refused last of all, where STAT is: an interface engine that is told to try again holds
        back everything behind that message, cancellations and STAT cases too. The whole batch is refused,
        for a cancellation that overtook its order would cancel nothing. What only cancels, closes or
        corrects is always taken, and so is what was taken before.
        """
        try:
            with self._database.write() as connection:
                return self._take(connection, batch)
        except IntegrityError:
            # The same message or case was committed by another connection between our look and our insert.
            with self._database.write() as connection:
                return self._take(connection, batch)

    def _take(self, connection: Connection, batch: Sequence[Arrival]) -> list[Receipt]:
        known, receipts = _known(connection, batch), []
        now = connection.execute(select(clock())).scalar_one()
        desk = Desk(
            connection=connection, seal=self._seal, plan=self._plan, public_url=self._public_url,
            archive=self._archive, use=self._use, now=now,
            pending=Pending(connection, (messages, cases, jobs, asks, audit)),
        )  # fmt: skip
        desk.look_up(order for arrival in batch if arrival.key not in known for order in arrival.orders)
        for arrival in batch:
            if arrival.key in known:
                again = known[arrival.key] == arrival.digest
                receipts.append(Receipt(taken=Taken.AGAIN if again else Taken.CONFLICT))
                continue
            if any(order.verb is Verb.AVAILABLE for order in arrival.orders):
                self._backlog.admit(connection, Priority.STAT)
            known[arrival.key] = arrival.digest
            row = self._row(arrival, now)
            desk.pending.add(messages, row)
            for order in arrival.orders:
                desk.take(order, message_id=row["id"], actor=arrival.actor)
            made, told = desk.given()
            receipts.append(Receipt(taken=Taken.NEW, jobs=made, deliveries=told))
        desk.pending.write()
        return receipts

    def _row(self, arrival: Arrival, now: datetime) -> dict[str, Any]:
        return {
            "id": f"in_{ULID()}", "channel": arrival.channel, "application": arrival.application,
            "facility": arrival.facility, "control_id": arrival.control_id, "digest": arrival.digest,
            "received_at": now, "is_test": arrival.is_test, "sealed": self._seal.close(arrival.raw),
        }  # fmt: skip

    def forget(self, *, days: float) -> int:
        """Empty the text of messages older than `days`; gives how many. What they said stays known."""
        old = update(messages).where(messages.c.received_at < clock(-days * 86_400))
        with self._database.patiently() as connection:
            return connection.execute(old.where(messages.c.sealed.is_not(None)).values(sealed=None)).rowcount

    def message(self, message_id: str) -> bytes | None:
        """The bytes as they came; None when there is no such message or its text was forgotten."""
        with self._database.read() as connection:
            sealed = connection.execute(
                select(messages.c.sealed).where(messages.c.id == message_id)
            ).scalar_one_or_none()
        return None if sealed is None else self._seal.open(sealed)


def _known(connection: Connection, batch: Sequence[Arrival]) -> dict[Key, str]:
    """Digests of those messages of `batch` that came before."""
    c = messages.c
    query = select(c.channel, c.application, c.facility, c.control_id, c.digest)
    rows = connection.execute(query.where(c.control_id.in_([arrival.control_id for arrival in batch])))
    return {(row.channel, row.application, row.facility, row.control_id): row.digest for row in rows}
