"""The storms: each does one kind of harm to a ward under load.

In: an open ward, how many events. Out: nothing. `STORMS` says how each ward is set up.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable

from tests.faults.laboratory_storms import LABORATORY_STORMS
from tests.faults.ward import Ward
from tests.faults.weather import Storm
from tests.integration.webhooks.receiver import Handler, Way, drop, status

#: so that a storm that failed can be had again
SEED = 4


def kill_workers(ward: Ward, events: int) -> None:
    chance = random.Random(SEED)
    with ward.load(live=60):
        for number in range(events):
            part = ward.ready(number)
            time.sleep(chance.uniform(0.5, 2.5))
            ward.kill(part)


def workers_die(ward: Ward, events: int) -> None:
    """By themselves, at the point that the ward names."""
    with ward.load():
        ward.until(lambda: len(ward.events) >= events, 60 + 20 * events)


def pause_workers(ward: Ward, events: int) -> None:
    with ward.load():
        for number in range(events):
            time.sleep(1)
            ward.pause(ward.ready(number), 2 * ward.lease)


def restart_workers(ward: Ward, events: int) -> None:
    with ward.load():
        for number in range(events):
            part = ward.ready(number)
            time.sleep(0.5)
            ward.restart(part)


def kill_broker(ward: Ward, events: int) -> None:
    _under_load(ward, events, ward.kill_broker)


def flush_broker(ward: Ward, events: int) -> None:
    _under_load(ward, events, ward.flush_broker)


def pause_broker(ward: Ward, events: int) -> None:
    _under_load(ward, events, lambda: ward.pause_broker(3))


def crash_database(ward: Ward, events: int) -> None:
    _under_load(ward, events, ward.crash_database)


def kill_courier(ward: Ward, events: int) -> None:
    _under_load(ward, events, lambda: ward.kill(next(p for p in ward.parts if p.name == "courier")))


def tell(ward: Ward, events: int) -> None:
    """A fault for each job: the receiver's."""
    for _ in range(events):
        ward.submit(ward.request())


def _under_load(ward: Ward, events: int, once: Callable[[], None]) -> None:
    chance = random.Random(SEED)
    with ward.load():
        for _ in range(events):
            time.sleep(chance.uniform(1, 2))
            once()
        time.sleep(1)


def moody(handler: Handler) -> None:
    """The first time it hears of an event it errs, hangs up, dawdles or redirects; then it takes it."""
    webhook_id = handler.headers["webhook-id"]
    heard = [r for r in handler.receiver.received if r.headers["webhook-id"] == webhook_id]
    moods: tuple[Way, ...] = (status(500), drop, _late, status(307, location="http://127.0.0.1:1/"), _slow)
    way = moods[zlib.crc32(webhook_id.encode()) % len(moods)] if len(heard) == 1 else status(204)
    way(handler)


def _late(handler: Handler) -> None:
    """Later than the sender waits."""
    handler.receiver.closing.wait(3)


def _slow(handler: Handler) -> None:
    handler.receiver.closing.wait(1)
    status(204)(handler)


def dying(point: str) -> dict[str, object]:
    return {"faults": {"POINT": point, "CHANCE": "0.01"}}


STORMS = {
    "worker": Storm(fault="worker SIGKILL, at random", blow=kill_workers, events=40, short=3),
    "claimed": Storm(
        fault="worker dies after claim", blow=workers_die, events=10, short=2, ward=dying("after_claim")
    ),
    "ending": Storm(
        fault="worker dies before commit", blow=workers_die, events=10, short=2, ward=dying("before_commit")
    ),
    "ended": Storm(
        fault="worker dies after commit, before ack", blow=workers_die, events=10, short=2,
        ward=dying("after_commit"),
    ),
    "paused": Storm(
        fault="worker SIGSTOP for two leases", blow=pause_workers, events=10, short=2, ward={"step": 0.1}
    ),
    "rolling": Storm(fault="rolling restart, SIGTERM", blow=restart_workers, events=20, short=2),
    "broker": Storm(fault="broker kill -9", blow=kill_broker, events=10, short=2),
    "flush": Storm(fault="broker FLUSHALL", blow=flush_broker, events=10, short=1),
    "broker-paused": Storm(fault="broker SIGSTOP for 3 s", blow=pause_broker, events=10, short=1),
    "database": Storm(
        fault="database crash restart", blow=crash_database, events=8, short=1, needs_server=True
    ),
    "courier": Storm(fault="courier SIGKILL", blow=kill_courier, events=10, short=2),
    "receiver": Storm(fault="receiver errs, drops, hangs, redirects, is slow", blow=tell, events=300, short=40, way=moody),
    **LABORATORY_STORMS,
}  # fmt: skip
