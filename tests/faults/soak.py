"""Soak: hours of ordinary load, after which nothing may have grown.

In: an open ward, how many seconds. Out: problems for what has grown, and the figures. Compared are the medians of
the second quarter and of the last, after a warm-up: what a program takes at its start and then keeps is not growth.
"""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median

import psutil
import redis

from tests.faults.ward import Ward

SAMPLE_SECONDS = 1.0
#: a courier's second connections to broker and database come 14 and 22 seconds after it, and stay
WARM_UP_SECONDS = 30
#: (share, absolute): growth is more than both
ALLOWED = {"MB": (0.10, 15.0), "files": (0.10, 3.0), "keys": (0.5, 10.0), "unacknowledged": (0.5, 20.0)}


def soak(ward: Ward, seconds: int) -> None:
    watched: dict[tuple[str, str], list[float]] = defaultdict(list)
    with ward.load():
        for number in range(ward.workers):
            ward.ready(number)
        time.sleep(WARM_UP_SECONDS)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, value in _sample(ward).items():
                watched[key].append(value)
            time.sleep(SAMPLE_SECONDS)
    for (name, what), values in sorted(watched.items()):
        _judge(ward, f"{name}, {what}", values, ALLOWED[what])


def _sample(ward: Ward) -> dict[tuple[str, str], float]:
    found = {}
    for part in ward.parts:
        process = psutil.Process(part.process.pid)
        found[part.name, "MB"] = process.memory_info().rss / 2**20
        found[part.name, "files"] = float(process.num_fds())
    with redis.Redis(unix_socket_path=str(ward.socket_path)) as client:
        found["broker", "MB"] = client.info("memory")["used_memory"] / 2**20
        found["broker", "keys"] = float(client.dbsize())
        found["broker", "unacknowledged"] = float(client.hlen("pathlane:unacked"))
    return found


def _judge(ward: Ward, what: str, values: list[float], allowed: tuple[float, float]) -> None:
    quarter = len(values) // 4
    early, late = median(values[quarter : 2 * quarter]), median(values[-quarter:])
    ward.figures.append(f"{what}: {early:.0f} -> {late:.0f}")
    share, absolute = allowed
    if late > early * (1 + share) and late > early + absolute:
        ward.problems.append(f"{what} grew from {early:.1f} to {late:.1f}")
