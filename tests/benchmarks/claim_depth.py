"""What one claim costs, by how many jobs are queued, and by how many at the front wait out a pause.

    python -m tests.benchmarks.claim_depth --database postgresql --depths 1000 10000 100000 1000000
    python -m tests.benchmarks.claim_depth --database sqlite --paused 0 1000 10000

In: nothing but this repository. Out: a table of milliseconds. The rows are inserted by SQL, so a million takes
about a minute. Every claim is the product's own, with its row of the audit and its commit.
"""

from __future__ import annotations

import argparse
import time
from statistics import median, quantiles

from tests.benchmarks.databases import Store, empty_store, machine
from tests.depth import fill
from worker.store.jobs import Jobs
from worker.store.session import Database


def claimed(database: Database, count: int) -> list[float]:
    """Milliseconds of each."""
    jobs, took = Jobs(database), []
    for number in range(count + 10):
        begun = time.perf_counter()
        job = jobs.claim(worker_id="w", lease_seconds=60)
        if number >= 10:  # the first pay for compiled statements and the server's plans
            took.append(1000 * (time.perf_counter() - begun))
        assert job is not None
    return took


def row(store: Store, depth: int, paused: int, claims: int) -> str:
    database = Database(store.url)
    fill(database, depth)
    if paused:
        fill(database, paused, pausing=True)
    took = claimed(database, claims)
    database.close()
    return f"| {store.kind} | {depth:,} | {paused:,} | {median(took):.2f} | {quantiles(took, n=20)[-1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--depths", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--paused", type=int, nargs="+", default=[0])
    parser.add_argument("--claims", type=int, default=200)
    options = parser.parse_args()
    header = "| database | queued | paused at the front | claim p50, ms | p95, ms |\n|---|---|---|---|---|"
    for number, (depth, paused) in enumerate((d, p) for d in options.depths for p in options.paused):
        with empty_store(options.database) as store:
            if number == 0:
                print(f"{machine(store)}\n\n{header}", flush=True)
            print(row(store, depth, paused, options.claims), flush=True)


if __name__ == "__main__":
    main()
