"""Rings a second that one Valkey takes, by how many threads ring.

    python -m tests.benchmarks.ring_rates --count 5000 --threads 1 4

In: nothing but this repository. Out: a table. A ring is the product's: a Celery message of a few hundred bytes with
no case in it. A case needs one, and each of its deliveries one more.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis

from integrations import valkey
from tests.benchmarks.databases import machine
from worker.app import READ, READ_QUEUE, connect, ring


def rung(count: int, threads: int) -> float:
    """A second."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(lambda _: ring(READ, queue=READ_QUEUE), range(count)))
    return count / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rings-") as name:
        socket = Path(name) / "broker.sock"
        broker = subprocess.Popen(valkey.command(Path(name) / "valkey", socket), stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                time.sleep(0.05)
            connect(f"redis+socket://{socket}")
            print(f"{machine()}\n\n| threads | rings a second | bytes of a ring in memory |\n|---|---|---|")
            for threads in options.threads:
                rung(50, threads)
                client = redis.Redis(unix_socket_path=str(socket))
                client.flushall()
                empty = client.info("memory")["used_memory"]
                rate = rung(options.count, threads)
                held = (client.info("memory")["used_memory"] - empty) / options.count
                print(f"| {threads} | {rate:.0f} | {held:.0f} |", flush=True)
        finally:
            broker.kill()
            broker.wait()


if __name__ == "__main__":
    main()
