"""Storms over a laboratory: everything between an order's AA and its result's AA is killed under load.

In: an open laboratory, how many events. Out: nothing. One round hurts every part once, those at the borders
more often; the named points (a commit without its AA, an AA that is not written down) come by themselves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import cycle, islice

from tests.faults.hl7_servers import Peer
from tests.faults.laboratory import Laboratory
from tests.faults.order_sender import PATIENCE_SECONDS
from tests.faults.weather import Storm

SEED = 4
#: orders that are on their way at once
LIVE = 40
#: at least so many orders for each event
ORDERS = 14

Harm = Callable[[Laboratory, random.Random], None]


def kill_worker(ward: Laboratory, chance: random.Random) -> None:
    ward.kill(ward.ready(chance.randrange(ward.workers)))


def kill_listener(ward: Laboratory, chance: random.Random) -> None:
    """While it listens, so that there is a conversation to break off."""
    ward.until(ward.listens, 120)
    time.sleep(chance.uniform(0, 0.5))
    ward.kill(ward.part("hl7"))


def kill_courier(ward: Laboratory, chance: random.Random) -> None:
    ward.kill(ward.part("courier"))


def pause_listener(ward: Laboratory, chance: random.Random) -> None:
    """Longer than a sender waits: the same message comes by two connections, and is read from both."""
    ward.until(ward.listens, 120)
    ward.pause(ward.part("hl7"), PATIENCE_SECONDS + 1)


def send_server_away(ward: Laboratory, chance: random.Random) -> None:
    ward.server_away(chance.uniform(0.5, 3))


def flush_broker(ward: Laboratory, chance: random.Random) -> None:
    ward.flush_broker()


def crash_database(ward: Laboratory, chance: random.Random) -> None:
    if ward.crash is not None:
        ward.crash_database()


ROUND: tuple[Harm, ...] = (
    kill_listener, kill_worker, send_server_away, kill_courier, crash_database, kill_listener, kill_worker,
    kill_courier, flush_broker, kill_listener, kill_worker, kill_courier, pause_listener,
)  # fmt: skip


def hurt_everything(ward: Laboratory, events: int) -> None:
    chance = random.Random(SEED)
    with ward.load(live=LIVE):
        for harm in islice(cycle(ROUND), events):
            time.sleep(chance.uniform(0.5, 1.5))
            harm(ward, chance)
        ward.until(lambda: ward.senders.orders.number >= ORDERS * events, 180)


#: FAULT_TAKEN and FAULT_TOLD count in the life of one process, and none lives long
POINTS = {"TAKEN": "30", "TOLD": "30", "POINT": "after_commit", "CHANCE": "0.003"}

LABORATORY_STORMS = {
    "laboratory": Storm(
        fault="orders and results over HL7: every part killed; the lab's system errs, drops, is late, is away",
        blow=hurt_everything, events=20, short=3, kind=Laboratory, ward={"faults": POINTS},
    ),
    "laboratory-peer": Storm(
        fault="the same, results to simple-hl7, which is killed", blow=hurt_everything, events=6, short=2,
        kind=Laboratory, ward={"faults": POINTS, "system": Peer},
    ),
}  # fmt: skip
