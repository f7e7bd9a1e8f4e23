"""The one checker of all storms: what must be true of a store, whatever was done to its surroundings.

In: a snapshot of the database, the ids that were accepted, what the receiver got, what went to and came from
a laboratory, and who was in the model when. Out: a Verdict. It reads plain SQL and verifies signatures with the reference package, so that an error
in the product's own modules cannot hide from it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import standardwebhooks
from sqlalchemy import create_engine, text

from tests.faults import exchange as exchanges
from tests.faults.exchange import Exchange

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
EVENT_OF = {status: f"job.{status}" for status in TERMINAL}

Row = Mapping[str, Any]


class Received(Protocol):
    """One request as a receiver got it; the names of its headers in small letters."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    jobs: Sequence[Row]
    readings: Sequence[Row]
    deliveries: Sequence[Row]
    endpoints: Sequence[Row]
    #: what a laboratory's messages became
    messages: Sequence[Row] = ()
    cases: Sequence[Row] = ()
    asks: Sequence[Row] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """So many more (or fewer, below zero) cases in the model from this moment on."""

    at: float
    change: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    #: accepted, and never came to an end; or its laboratory never heard of it
    lost: frozenset[str]
    #: came to two ends, or to one that nobody asked for
    doubled: frozenset[str]
    #: everything that is wrong, one sentence each
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.problems)


def snapshot(database_url: str) -> Snapshot:
    engine = create_engine(database_url)
    columns = {
        "jobs": "id, status, attempt, request",
        "readings": "job_id, attempt",
        "deliveries": "id, job_id, endpoint_id, event_type, status",
        "endpoints": "id, name, url, status, secret",
        "messages": "control_id",
        "cases": "id, accession, slide",
        "asks": "case_id, job_id",
    }
    with engine.connect() as connection:
        rows = {
            table: connection.execute(text(f"SELECT {names} FROM {table}")).mappings().all()
            for table, names in columns.items()
        }
    engine.dispose()
    return Snapshot(**{table: tuple(map(dict, found)) for table, found in rows.items()})


def judge(
    store: Snapshot,
    accepted: Collection[str],
    received: Iterable[Received] = (),
    *,
    holders: Iterable[Holder] = (),
    cap: int | None = None,
    exchange: Exchange | None = None,
) -> Verdict:
    """Holds every invariant against what is there; reads nothing else."""
    exchange = exchange or Exchange()
    accepted = set(accepted) | exchanges.jobs_of(store, exchange)
    lost = [*_not_ended(store, accepted), *exchanges.lost(store, exchange)]
    doubled = [
        *_never_accepted(store, accepted), *_readings(store), *_double_deliveries(store),
        *exchanges.doubled(store, exchange),
    ]  # fmt: skip
    others = [
        *exchanges.astray(store, exchange), *_missing_deliveries(store),
        *_receptions(store, list(received)), *_over_the_cap(holders, cap),
    ]  # fmt: skip
    return Verdict(
        lost=frozenset(who for who, _ in lost),
        doubled=frozenset(who for who, _ in doubled),
        problems=(*(problem for _, problem in (*lost, *doubled)), *others),
    )


def check(
    database_url: str,
    accepted: Collection[str],
    received: Iterable[Received] = (),
    *,
    holders: Iterable[Holder] = (),
    cap: int | None = None,
    exchange: Exchange | None = None,
) -> Verdict:
    return judge(
        snapshot(database_url), accepted, received, holders=holders, cap=cap, exchange=exchange
    )  # fmt: skip


def most_at_once(holders: Iterable[Holder]) -> int:
    inside = most = 0
    # Who leaves at the same moment has left before.
    for holder in sorted(holders, key=lambda holder: (holder.at, holder.change)):
        inside += holder.change
        most = max(most, inside)
    return most


def _not_ended(store: Snapshot, accepted: Collection[str]) -> Iterable[tuple[str, str]]:
    ended = {job["id"] for job in store.jobs if job["status"] in TERMINAL}
    for job_id in sorted(set(accepted) - ended):
        yield job_id, f"{job_id} was accepted and has not ended"


def _never_accepted(store: Snapshot, accepted: Collection[str]) -> Iterable[tuple[str, str]]:
    known = set(accepted)
    for job in store.jobs:
        if job["id"] not in known:
            yield job["id"], f"{job['id']} is in the store, and nobody was told that it was accepted"


def _readings(store: Snapshot) -> Iterable[tuple[str, str]]:
    of_job: dict[str, list[int]] = defaultdict(list)
    for reading in store.readings:
        of_job[reading["job_id"]].append(reading["attempt"])
    for job in store.jobs:
        attempts = of_job.pop(job["id"], [])
        if job["status"] == "succeeded" and len(attempts) != 1:
            yield job["id"], f"{job['id']} succeeded with {len(attempts)} readings"
        if job["status"] not in ("succeeded", "cancelled") and attempts:
            yield job["id"], f"{job['id']} is {job['status']} and has a reading"
        if any(attempt != job["attempt"] for attempt in attempts):
            yield job["id"], f"{job['id']} has the reading of an attempt that had lost it"
    for job_id in of_job:
        yield job_id, f"{job_id} is unknown and has a reading"


def _double_deliveries(store: Snapshot) -> Iterable[tuple[str, str]]:
    rows = Counter((delivery["job_id"], delivery["endpoint_id"]) for delivery in store.deliveries)
    for (job_id, endpoint_id), count in rows.items():
        if count > 1:
            yield job_id, f"{job_id} is told {count} times to {endpoint_id}"


def _missing_deliveries(store: Snapshot) -> list[str]:
    told = {(delivery["job_id"], delivery["endpoint_id"]): delivery for delivery in store.deliveries}
    problems = []
    for job in store.jobs:
        if job["status"] not in TERMINAL:
            continue
        for endpoint in _subscribers(store, job):
            delivery = told.get((job["id"], endpoint["id"]))
            if delivery is None:
                problems.append(f"{job['id']} ended and is not told to {endpoint['id']}")
            elif delivery["event_type"] != EVENT_OF[job["status"]]:
                problems.append(f"{job['id']} is {job['status']} and told as {delivery['event_type']}")
    return problems


def _subscribers(store: Snapshot, job: Row) -> list[Row]:
    request = job["request"] if isinstance(job["request"], dict) else json.loads(job["request"])
    named = request.get("endpoints")
    return [
        endpoint
        for endpoint in store.endpoints
        if endpoint["status"] != "gone"
        and (endpoint["url"].startswith("http") if named is None else {endpoint["id"], endpoint["name"]} & {*named})
    ]  # fmt: skip


def _receptions(store: Snapshot, received: Sequence[Received]) -> list[str]:
    endpoints = {e["id"]: e for e in store.endpoints if e["url"].startswith("http")}
    rows = {d["id"]: d for d in store.deliveries if d["endpoint_id"] in endpoints}
    got = {request.headers.get("webhook-id", "") for request in received}
    problems = [
        f"{delivery['id']} was never received"
        for delivery in rows.values()
        if delivery["id"] not in got and endpoints[delivery["endpoint_id"]]["status"] != "gone"
    ]
    problems += [
        f"{unknown or 'no id'} was received and is no delivery" for unknown in sorted(got - rows.keys())
    ]
    for request in received:
        row = rows.get(request.headers.get("webhook-id", ""))
        if row is not None:
            problems += _reception(request, row, endpoints[row["endpoint_id"]]["secret"])
    return problems


def _reception(request: Received, row: Row, secret: str) -> list[str]:
    problems = []
    if not _signed(request, secret):
        problems.append(f"{row['id']} came with a signature that does not verify")
    elif json.loads(request.body)["data"]["job_id"] != row["job_id"]:
        problems.append(f"{row['id']} tells of another job")
    return problems


def _signed(request: Received, secret: str) -> bool:
    """By the reference package, as of the moment of sending: its `verify` refuses what is five minutes old."""
    try:
        at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), tz=UTC)
        expected = standardwebhooks.Webhook(secret).sign(
            request.headers["webhook-id"], at, request.body.decode()
        )
        return expected in request.headers["webhook-signature"].split()
    except (KeyError, ValueError):
        return False


def _over_the_cap(holders: Iterable[Holder], cap: int | None) -> list[str]:
    if cap is None:
        return []
    most = most_at_once(holders)
    return [f"{most} cases were in the model at once, and the cap is {cap}"] if most > cap else []
