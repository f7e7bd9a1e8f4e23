"""The checker's part about laboratories: what must be true between orders that were sent and results that came.

In: a snapshot, the messages as their sender knows them, every message that the laboratory's system received.
Out: what is lost, doubled or told astray, one sentence each. Messages are read with python-hl7, so that an
error in the product's own reader or writer cannot hide from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import hl7

#: MSH-10 of a result is the end of its delivery's id (docs/reference/conformance-hl7.md)
CONTROL_ID_LENGTH = 20

Row = Mapping[str, Any]
#: accession and slide
Order = tuple[str, str]
#: who it is about, and one sentence
Problem = tuple[str, str]


class Store(Protocol):
    """The tables that a laboratory's messages become."""

    messages: Sequence[Row]
    cases: Sequence[Row]
    asks: Sequence[Row]
    jobs: Sequence[Row]
    deliveries: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message that announces a slide. The same slide may be announced again under another control id."""

    control_id: str
    accession: str
    slide: str
    patient: str
    #: an acknowledgement came that named it and said AA
    acknowledged: bool = True

    @property
    def order(self) -> Order:
        return self.accession, self.slide


class Result(NamedTuple):
    """One message that the laboratory's system received; all empty where it could not be read."""

    control_id: str
    order: Order
    patient: str
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What went over the lines, as the two ends that are not ours saw it."""

    sent: Sequence[Sent] = ()
    received: Sequence[bytes] = ()

    @cached_property
    def accepted(self) -> dict[Order, Sent]:
        return {one.order: one for one in self.sent if one.acknowledged}

    @cached_property
    def results(self) -> list[Result]:
        read = {raw: result_of(raw) for raw in set(self.received)}
        return [read[raw] for raw in self.received]


@dataclass(frozen=True, kw_only=True)
class Books:
    """Which jobs the store has for which order."""

    store: Store
    jobs: dict[Order, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        orders = {case["id"]: (case["accession"], case["slide"]) for case in self.store.cases}
        known = {job["id"] for job in self.store.jobs}
        jobs: dict[Order, list[str]] = defaultdict(list)
        for ask in self.store.asks:
            if ask["job_id"] in known:
                jobs[orders[ask["case_id"]]].append(ask["job_id"])
        object.__setattr__(self, "jobs", jobs)

    @cached_property
    def ended(self) -> dict[str, str]:
        return {job["id"]: job["status"] for job in self.store.jobs}

    @cached_property
    def control_ids(self) -> dict[str, set[str]]:
        """Of each job: what its results may be called."""
        found: dict[str, set[str]] = defaultdict(set)
        for delivery in self.store.deliveries:
            found[delivery["job_id"]].add(delivery["id"][-CONTROL_ID_LENGTH:])
        return found


def jobs_of(store: Store, exchange: Exchange) -> set[str]:
    """Ids of the jobs that somebody was said AA for."""
    jobs = Books(store=store).jobs
    return {job_id for order in exchange.accepted for job_id in jobs.get(order, ())}


def lost(store: Store, exchange: Exchange) -> Iterable[Problem]:
    """Said AA to, and not there; or read, and the laboratory never heard of it.

    A job that failed or was cancelled has no reading to tell: that it has ended is the other checks' business.
    """
    books, taken = Books(store=store), {message["control_id"] for message in store.messages}
    told = {result.order for result in exchange.results}
    for one in exchange.sent:
        if one.acknowledged and one.control_id not in taken:
            yield one.control_id, f"{one.control_id} was acknowledged and is not in the store"
    for order in exchange.accepted:
        jobs = books.jobs.get(order, [])
        if not jobs:
            yield name(order), f"{name(order)} was acknowledged and has no job"
        elif order not in told and "succeeded" in {books.ended[job_id] for job_id in jobs}:
            yield name(order), f"{name(order)} was read and the laboratory has no result"


def doubled(store: Store, exchange: Exchange) -> Iterable[Problem]:
    """One order, two jobs; or two results that differ."""
    for order, jobs in Books(store=store).jobs.items():
        if len(jobs) > 1:
            yield name(order), f"{name(order)} has {len(jobs)} jobs"
    different: dict[Order, set[bytes]] = defaultdict(set)
    for result in exchange.results:
        different[result.order].add(result.raw)
    for order, raws in different.items():
        if order in exchange.accepted and len(raws) > 1:
            yield name(order), f"{name(order)} has {len(raws)} results that differ"


def astray(store: Store, exchange: Exchange) -> Iterable[str]:
    """Told to the laboratory, and not what it asked for."""
    books = Books(store=store)
    for result in dict.fromkeys(exchange.results):
        order = exchange.accepted.get(result.order)
        if order is None:
            yield f"{result.control_id or 'what cannot be read'} was told for an order that was never accepted"
            continue
        if result.patient != order.patient:
            yield f"{name(order.order)} was told for another patient"
        jobs = books.jobs.get(order.order, ())
        if not any(result.control_id in books.control_ids[job_id] for job_id in jobs):
            yield f"{name(order.order)} was told under the id of no delivery of its own"


def name(order: Order) -> str:
    return "/".join(order)


def result_of(raw: bytes) -> Result:
    try:
        message = hl7.parse(raw.decode())
        return Result(
            control_id=str(message.segment("MSH")[10]),
            order=(str(message.segment("ORC")[38]), str(message.segment("SPM")[2][0][0])),
            patient=str(message.segment("PID")[3][0][0]),
            raw=raw,
        )
    except (UnicodeDecodeError, hl7.HL7Exception, KeyError, IndexError):
        return Result(control_id="", order=("", ""), patient="", raw=raw)
