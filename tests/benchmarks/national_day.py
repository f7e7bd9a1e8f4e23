"""A day of a national laboratory, simulated: who waits how long, by how many GPUs there are.

    python -m tests.benchmarks.national_day --gpus 1 2 3
    python -m tests.benchmarks.national_day --hospitals 40 --cases 500 --gpus 2 --failures 3 --step-ms 80

In: nothing but this repository. Out: a table. The store, its priorities, leases and sweeps and the engine's
scheduler are real; the clock, the model and the network are not (`tests.benchmarks.simulation`). The default GPU
is slow on purpose, about 2,000 cases an hour, so that twenty thousand cases show where one is not enough; what a
real one carries stands in docs/explanation/scaling.md. At the end every accepted job must have ended.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from tests.benchmarks.databases import machine
from tests.benchmarks.simulation import Clock, Gpu, Laboratory, SimulatedDatabase, Speed
from tests.builders import a_request
from worker.jobs.request import Priority
from worker.store import schema

HOUR = 3600.0
#: cases in each hour of the day, as parts of the whole: scanners run in the morning and after lunch
CURVE = (1, 1, 1, 1, 1, 2, 5, 9, 12, 13, 12, 9, 7, 10, 11, 10, 8, 6, 4, 3, 2, 2, 1, 1)
SHARES = {Priority.STAT: 0.03, Priority.URGENT: 0.12, Priority.ROUTINE: 0.85}
#: of an answer: the mean, and the shape of its long tail
TOKENS, SPREAD = 300.0, 0.6
REPAIR_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    at: float
    priority: Priority
    tokens: float


def arrivals(cases: int, random_: random.Random) -> list[Arrival]:
    """A day of them, the earliest first."""
    hours = random_.choices(range(24), weights=CURVE, k=cases)
    priorities = random_.choices(list(SHARES), weights=SHARES.values(), k=cases)
    came = [
        Arrival(
            at=(hour + random_.random()) * HOUR,
            priority=priority,
            tokens=min(2048.0, max(8.0, random_.lognormvariate(0, SPREAD) * TOKENS / _MEAN)),
        )
        for hour, priority in zip(hours, priorities, strict=True)
    ]
    return sorted(came, key=lambda arrival: arrival.at)


#: of a lognormal around 1
_MEAN = 2.718281828459045 ** (SPREAD**2 / 2)


def percentile(values: Sequence[float], part: float) -> float:
    """0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else 0.0


def day(database: SimulatedDatabase, clock: Clock, options: argparse.Namespace, gpus: int) -> Laboratory:
    """The same cases and the same failures for any number of GPUs."""
    random_ = random.Random(options.seed)
    lab = Laboratory(database, clock)
    speed = Speed(step=options.step_ms / 1000, row=options.row_ms / 1000, prefill=options.prefill_ms / 1000)
    lab.gpus = [Gpu(f"gpu{number}", lab, speed, options.slots) for number in range(gpus)]
    requests = {priority: a_request(priority=priority.value) for priority in Priority}
    came = arrivals(options.hospitals * options.cases, random_)
    for one in came:
        clock.at(one.at, lambda one=one: lab.accept(requests[one.priority], one.tokens))
    for _ in range(options.failures):
        at, gpu = random_.uniform(8, 17) * HOUR, lab.gpus[random_.randrange(24) % gpus]
        clock.at(at, lambda gpu=gpu: gpu.fail(REPAIR_SECONDS))
    lab.look_after()
    clock.run(until=lambda: clock.now > 23.9 * HOUR and len(lab.came) == len(came) and _is_done(lab))
    return lab


def _is_done(lab: Laboratory) -> bool:
    return not any(lab.jobs.depth().values())


def ended(database: SimulatedDatabase) -> tuple[int, int, float]:
    """Jobs that ended, readings, and the longest a STAT case took from its arrival to its answer."""
    with database.read() as connection:
        done = "SELECT count(*) FROM jobs WHERE status IN ('succeeded', 'failed', 'cancelled')"
        took = (
            "SELECT coalesce(max(julianday(finished_at) - julianday(created_at)), 0) * 86400 FROM jobs WHERE "
            "json_extract(request, '$.priority') = 'stat'"
        )
        readings = "SELECT count(*) FROM readings"
        return tuple(connection.execute(text(sql)).scalar_one() for sql in (done, readings, took))


def row(options: argparse.Namespace, gpus: int) -> str:
    clock, begun = Clock(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="day-") as folder:
        database = SimulatedDatabase(f"sqlite:///{Path(folder) / 'pathlane.db'}", clock)
        schema.migrate(database)
        lab = day(database, clock, options, gpus)
        done, readings, stat = ended(database)
        cells_of = []
        for priority in Priority:
            own = waits(database, lab, priority)
            cells_of.append(
                f"{percentile(own, 0.5):.1f} / {percentile(own, 0.95):.1f} / {max(own, default=0):.0f}"
            )
        database.close()
    lost = len(lab.came) - done
    assert lost == 0, f"{lost} accepted jobs have not ended"
    assert readings + lab.poisoned == done, "a job has no reading, or two"
    used = sum(gpu.busy for gpu in lab.gpus) / (gpus * clock.now)
    cells = (
        gpus, f"{len(lab.came):,}", *cells_of, f"{stat:.0f}", f"{100 * used:.0f} %", f"{lab.deepest}+", lab.returned, lost,
        f"{time.perf_counter() - begun:.0f}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def waits(database: SimulatedDatabase, lab: Laboratory, priority: Priority) -> list[float]:
    sql = text("SELECT id FROM jobs WHERE json_extract(request, '$.priority') = :priority")
    with database.read() as connection:
        ids = connection.execute(sql, {"priority": priority.value}).scalars().all()
    return [lab.begun[one] - lab.came[one] for one in ids if one in lab.begun]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hospitals", type=int, default=40)
    parser.add_argument("--cases", type=int, default=500, help="of each hospital")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--failures", type=int, default=3, help="of a GPU, between 8 and 17 o'clock")
    parser.add_argument("--step-ms", type=float, default=80.0)
    parser.add_argument("--row-ms", type=float, default=0.5)
    parser.add_argument("--prefill-ms", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(machine(), "\n")
    print("Waits are seconds until a case is first read: p50 / p95 / longest.\n")
    print(
        "| GPUs | cases | STAT waits | urgent waits | routine waits | longest STAT answer, s | busy |", end=""
    )
    print(" deepest queue | returned | lost | took, s |\n|---|---|---|---|---|---|---|---|---|---|---|")
    for gpus in options.gpus:
        print(row(options, gpus), flush=True)


if __name__ == "__main__":
    main()
