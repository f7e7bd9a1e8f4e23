"""What a worker holds in memory over ten thousand jobs.

    python -m tests.benchmarks.worker_memory --jobs 10000

In: nothing but this repository. Out: a line for every tenth of the jobs, and a verdict: whether the last quarter
holds more than the second. The worker, the courier and the broker are the real programs; the model is the storms'
quick one (`tests.faults.quick_worker`), so that what grows is ours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from tests.benchmarks.databases import empty_store, machine
from tests.faults.ward import Ward

SAMPLE_SECONDS = 0.5
#: beyond both, it is growth: allocators keep what they once had
SHARE, MEGABYTES = 0.05, 8.0


def watched(ward: Ward, jobs: int) -> list[tuple[int, dict[str, float]]]:
    """(jobs that have ended, megabytes of each program), until so many have ended."""
    samples, printed = [], -1
    with ward.load(live=32):
        while (ended := len(ward.accepted) - ward.live()) < jobs:
            held = {p.name: psutil.Process(p.process.pid).memory_info().rss / 2**20 for p in ward.parts}
            samples.append((ended, held))
            if 10 * ended // jobs > printed:
                printed = 10 * ended // jobs
                print(f"| {ended} | " + " | ".join(f"{held[name]:.1f}" for name in held) + " |", flush=True)
            time.sleep(SAMPLE_SECONDS)
    return samples


def growth(values: list[float]) -> tuple[float, float, bool]:
    """The second quarter's median, the last's, and whether that is growth: the first quarter is the start."""
    quarter = max(1, len(values) // 4)
    early, late = median(values[quarter : 2 * quarter]), median(values[-quarter:])
    return early, late, late > early * (1 + SHARE) and late > early + MEGABYTES


def by_jobs(samples: list[tuple[int, dict[str, float]]], name: str, jobs: int) -> list[float]:
    """One value for each hundredth of the jobs, however long each took."""
    found: dict[int, float] = {}
    for ended, held in samples:
        found[100 * ended // jobs] = held[name]
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--jobs", type=int, default=10_000)
    options = parser.parse_args()
    grown = False
    with empty_store(options.database) as store, tempfile.TemporaryDirectory(prefix="memory-") as folder:
        print(machine(store))
        ward = Ward(url=store.url, folder=Path(folder), workers=1, lease=30.0, step=0.0)
        with ward.open():
            print(f"| jobs | {' | '.join(p.name for p in ward.parts)} |\n|---|{'---|' * len(ward.parts)}")
            samples = watched(ward, options.jobs)
            for part in ward.parts:
                early, late, grows = growth(by_jobs(samples, part.name, options.jobs))
                print(f"{part.name}: {early:.1f} MB -> {late:.1f} MB, {'GREW' if grows else 'flat'}")
                grown |= grows
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
