"""The storms: each does one kind of harm to a ward under load.

In: an open ward, how many events. Out: nothing. `STORMS` says how each ward is set up.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.faults.gateway import gateway
from tests.faults.hosts import HOST_STORMS
from tests.faults.laboratory_storms import LABORATORY_STORMS
from tests.faults.network import NETWORK_STORMS
from tests.faults.receivers import moody, tell
from tests.faults.soak import soak
from tests.faults.urgent import routine_beside_urgent, stat_behind_routine
from tests.faults.ward import Ward
from tests.faults.weather import Storm
from worker.jobs.job import ATTEMPTS_ALLOWED, Status
from worker.jobs.request import JobRequest
from worker.store.jobs import Jobs
from worker.store.keys import Keys

#: so that a storm that failed can be had again
SEED = 4
TOGETHER = 50
JOBS_A_KILL = 160


def kill_workers(ward: Ward, events: int) -> None:
    """One at a time, while all others read: what is measured is how a lease comes back, not how a program starts."""
    chance = random.Random(SEED)
    with ward.load(live=60):
        for number in range(events):
            for other in range(ward.workers):
                ward.ready(other)
            time.sleep(chance.uniform(0.5, 2.5))
            ward.kill(ward.worker(number))
        ward.until(lambda: len(ward.accepted) >= JOBS_A_KILL * events, 600)


def workers_die(ward: Ward, events: int) -> None:
    """By themselves, at the point that the ward names."""
    with ward.load():
        ward.until(lambda: len(ward.events) >= events, 120 + 20 * events)


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
    with ward.undying():
        _under_load(ward, events, ward.kill_broker)


def flush_broker(ward: Ward, events: int) -> None:
    with ward.undying():
        _under_load(ward, events, ward.flush_broker)


def pause_broker(ward: Ward, events: int) -> None:
    with ward.undying():
        _under_load(ward, events, lambda: ward.pause_broker(10))


def crash_database(ward: Ward, events: int) -> None:
    with ward.undying():
        _under_load(ward, events, ward.crash_database)


def kill_courier(ward: Ward, events: int) -> None:
    _under_load(ward, events, lambda: ward.kill(next(p for p in ward.parts if p.name == "courier")))


def kill_and_pause_holders(ward: Ward, events: int) -> None:
    """Three processes share two slots; each in turn is killed or put to sleep beyond its lease."""
    with ward.load():
        for number in range(events):
            part = ward.ready(number)
            time.sleep(0.3)
            if number % 2:
                ward.kill(part)
            else:
                ward.pause(part, 1.5 * ward.lease)


def poison(ward: Ward, events: int) -> None:
    """Each poison job kills its worker at every attempt, and is given up after the last."""
    with ward.load():
        for _ in range(events // ATTEMPTS_ALLOWED):
            job_id = ward.submit(ward.request(question="poison"))
            ward.until(lambda job_id=job_id: Jobs(ward.database).get(job_id).status.is_terminal, 120)
            ended = Jobs(ward.database).get(job_id)
            if (ended.status, ended.attempt) != (Status.FAILED, ATTEMPTS_ALLOWED):
                ward.problems.append(f"{job_id} is poison and ended as {ended.status} after {ended.attempt}")
    if ward.count("jobs", "status = 'failed'") != events // ATTEMPTS_ALLOWED:
        ward.problems.append("a neighbour of a poison job failed with it")


def submit_twice(ward: Ward, events: int) -> None:
    """So many submissions over HTTP, fifty of one key at the same time."""
    with gateway(ward) as url:
        Keys(ward.database).add("storm", "pl_storm")
        for _ in range(events // TOGETHER):
            ids = set(together(url, ward.request(), TOGETHER))
            ward.accepted += ids
            if len(ids) != 1:
                ward.problems.append(f"{TOGETHER} submissions of one key made {len(ids)} jobs")


def together(url: str, request: JobRequest, times: int) -> list[str]:
    """The job ids that so many submissions at one moment were answered with."""
    start = threading.Barrier(times)
    headers = {"authorization": "Bearer pl_storm"}

    def submit(_: int) -> str:
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            start.wait()
            answer = client.post("/v1/jobs", json=request.model_dump(mode="json"))
        assert answer.is_success, answer.text
        return answer.json()["id"]

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(submit, range(times)))


def go_on(ward: Ward, events: int) -> None:
    """Nothing but load, for so many leases."""
    with ward.load():
        for number in range(ward.workers):
            ward.ready(number)
        time.sleep(events * ward.lease)


def _under_load(ward: Ward, events: int, once: Callable[[], None]) -> None:
    """Not again before work has flowed again: ever the same outage would be measured."""
    chance = random.Random(SEED)
    with ward.load():
        for _ in range(events):
            ended = ward.count("jobs", "status = 'succeeded'")
            ward.until(lambda ended=ended: ward.count("jobs", "status = 'succeeded'") > ended, 60)
            time.sleep(chance.uniform(1, 2))
            once()
        time.sleep(1)


def dying(point: str) -> dict[str, object]:
    return {"faults": {"POINT": point, "CHANCE": "0.04"}}


STORMS = {
    "worker": Storm(fault="worker SIGKILL, at random", blow=kill_workers, events=32, short=2, ward={"step": 0.03}),
    "claimed": Storm(
        fault="worker dies after claim", blow=workers_die, events=5, short=2, ward=dying("after_claim")
    ),
    "ending": Storm(
        fault="worker dies before commit", blow=workers_die, events=5, short=2, ward=dying("before_commit")
    ),
    "ended": Storm(
        fault="worker dies after commit, before ack", blow=workers_die, events=5, short=2,
        ward=dying("after_commit"),
    ),
    "paused": Storm(
        fault="worker SIGSTOP for two leases", blow=pause_workers, events=8, short=2
    ),
    "rolling": Storm(
        fault="rolling restart of four workers, SIGTERM", blow=restart_workers, events=8, short=4,
        ward={"workers": 4, "lease": 10}, once=True,
    ),
    "poison": Storm(fault="poison job kills its worker", blow=poison, events=6, short=3),
    "cap": Storm(
        fault="three processes on two slots, SIGKILL and SIGSTOP", blow=kill_and_pause_holders, events=16,
        short=4, ward={"workers": 3, "slots": 2},
    ),
    "skew": Storm(
        fault="worker clocks 10 minutes fast and slow", blow=go_on, events=10, short=3, once=True,
        ward={"clocks": (600, -600), "lease": 4}, needs_server=True,
    ),
    "broker": Storm(fault="broker kill -9", blow=kill_broker, events=8, short=2),
    "flush": Storm(fault="broker FLUSHALL", blow=flush_broker, events=8, short=1),
    "broker-paused": Storm(fault="broker SIGSTOP for 10 s", blow=pause_broker, events=3, short=1),
    "database": Storm(
        fault="database crash restart", blow=crash_database, events=8, short=1, needs_server=True
    ),
    "courier": Storm(fault="courier SIGKILL", blow=kill_courier, events=10, short=2),
    "receiver": Storm(
        fault="receivers down, slow, lying, redirecting, gone", blow=tell, events=100, short=44, way=moody
    ),
    "twice": Storm(fault="one key, 50 submissions at once", blow=submit_twice, events=500, short=50),
    "stat": Storm(
        fault="STAT behind 10,000 routine cases", blow=stat_behind_routine, events=15, short=5,
        ward={"module": "worker", "workers": 1, "lease": 10},
    ),
    "patience": Storm(
        fault="routine beside endless urgent cases", blow=routine_beside_urgent, events=10, short=2,
        ward={"step": 0.05, "settings": {"PATIENCE_MINUTES": 0.1}},
    ),
    "soak": Storm(fault="ordinary load, for minutes", blow=soak, events=90, short=15),
} | NETWORK_STORMS | HOST_STORMS | LABORATORY_STORMS  # fmt: skip
