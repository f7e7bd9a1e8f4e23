"""Seconds of CPU that importing the gateway costs, in a process of its own.

    python -m tests.benchmarks.gateway_import --times 5

In: nothing but this repository. Out: the least and the median of some runs, and the dearest imports. `rich`, which
structlog takes along wherever it finds it, is kept out: the gateway's image does not have it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from statistics import median

from tests.benchmarks.databases import machine

PROGRAM = "integrations.http_api.__main__"
ASK = (
    "import sys, time; sys.modules['rich'] = None; begun = time.process_time(); "
    f"import {PROGRAM}; print(time.process_time() - begun)"
)


def once() -> float:
    answer = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    return float(answer.stdout)


def dearest(count: int) -> list[str]:
    """`milliseconds, name` of whole packages, with what they import in turn."""
    command = [sys.executable, "-X", "importtime", "-c", ASK]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")]
    costs = {name.strip(): int(whole) for _, whole, name in rows if whole.strip().isdecimal()}
    packages = {name: cost for name, cost in costs.items() if "." not in name or name.startswith("worker.")}
    dear = sorted(packages.items(), key=lambda item: -item[1])[:count]
    return [f"{cost / 1000:7.1f} ms  {name}" for name, cost in dear]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--dearest", type=int, default=12)
    options = parser.parse_args()
    print(machine())
    once()  # the first may compile
    took = [once() for _ in range(options.times)]
    print(f"{PROGRAM}: {min(took):.2f} s of CPU at least, {median(took):.2f} s in the middle")
    print(*dearest(options.dearest), sep="\n")


if __name__ == "__main__":
    main()
