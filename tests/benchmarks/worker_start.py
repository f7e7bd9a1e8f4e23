"""How long a worker takes from its start to its first claim, beside the loading of its model.

    python -m tests.benchmarks.worker_start --times 3

In: nothing but this repository. Out: seconds. The program is the real one with the bundled demonstration; a job
and a ring wait for it. Loading is what `EngineLoop.start` takes, the import of torch included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from integrations import valkey
from tests.benchmarks.databases import empty_store, machine
from tests.builders import a_request
from worker.store.jobs import Jobs
from worker.store.session import Database

LOADED = "benchmark: loaded in "


def inside() -> int:
    """The worker program, which also says how long its model took."""
    import worker.__main__ as program

    class Timed(program.EngineLoop):
        def start(self, device):
            begun = time.perf_counter()
            identity = super().start(device)
            print(f"{LOADED}{time.perf_counter() - begun}", file=sys.stderr, flush=True)
            return identity

    program.EngineLoop = Timed
    sys.argv[1:] = []
    return program.main()


def started(url: str, folder: Path) -> tuple[float, float]:
    """Seconds from the start to the first claim, and how many of them the model took to load."""
    socket = folder / "broker.sock"
    settings = {
        "DATABASE_URL": url, "BROKER_URL": f"redis+socket://{socket}", "SLOTS_DIR": folder / "slots",
        "UPLOADS_DIR": folder / "uploads", "DEVICE": "cpu", "SWEEP_SECONDS": 0.2,
    }  # fmt: skip
    environment = os.environ | {f"PATHLANE_{name}": str(value) for name, value in settings.items()}
    begun, loaded = time.perf_counter(), 0.0
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, "--inside"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for line in process.stdout or ():
            if line.startswith(LOADED):
                loaded = float(line.removeprefix(LOADED))
            if "job.claimed" in line:
                return time.perf_counter() - begun, loaded
    finally:
        process.kill()
        process.wait()
    raise SystemExit("the worker ended before it claimed anything")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return inside()
    print(machine())
    for _ in range(options.times):
        with empty_store("sqlite") as store, tempfile.TemporaryDirectory(prefix="start-") as name:
            database = Database(store.url)
            Jobs(database).submit(a_request(), submitter="lab")
            database.close()
            folder = Path(name)
            broker = subprocess.Popen(valkey.command(folder / "valkey", folder / "broker.sock"))
            try:
                total, loaded = started(store.url, folder)
            finally:
                broker.kill()
                broker.wait()
        print(
            f"first claim after {total:.2f} s: model {loaded:.2f} s, all else {total - loaded:.2f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
