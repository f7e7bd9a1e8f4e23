"""Jobs a second through the store alone: submitted, then claimed and finished, with nothing to read.

    python -m tests.benchmarks.store_rates --count 2000 --processes 1 2 --threads 1 8
    python -m tests.benchmarks.store_rates --profile
    python -m tests.benchmarks.store_rates --audit 100000 --processes

In: nothing but this repository. Out: a table, or a profile of one thread. No model, no broker: only what the
database is asked to do, by so many processes of so many threads, with the rows of the audit and one delivery for
each of `--endpoints` subscribers. Beside the rates stands what one job costs of CPU, in milliseconds, in the
workers and in the server: that, and not the wall clock, says where the time goes. With `--audit`, also how
many rows of the audit are chained and verified a second.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import os
import pstats
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from tests.benchmarks.databases import Store, empty_store, machine
from tests.builders import a_reading, a_request
from worker.jobs.audit import Action
from worker.store.audit import Audit, entry, note_all
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.session import Database
from worker.store.verification import verify

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#: the first jobs of a thread pay for compiled statements, new connections and the server's plans
WARM = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one kind of work came to."""

    a_second: float
    #: milliseconds of CPU for each
    worker_ms: float
    server_ms: float

    def __str__(self) -> str:
        return f"{self.a_second:.0f} | {self.worker_ms:.2f} | {self.server_ms:.2f}"


def submits(jobs: Jobs) -> Callable[[], object]:
    request = a_request()
    return lambda: jobs.submit(request, submitter="lab")


def reads(jobs: Jobs) -> Callable[[], object]:
    reading = a_reading()

    def read() -> None:
        job = jobs.claim(worker_id=f"w{os.getpid()}", lease_seconds=60)
        assert job is not None
        jobs.finish(job, reading)

    return read


WORK = {"submit": submits, "read": reads}


def worker(
    url: str, kind: str, *, threads: int, each: int, line: Barrier, used: multiprocessing.Queue
) -> None:
    """One process: every thread does it `each` times, once all threads of all processes are warm."""
    database = Database(url, pool_size=threads + 4)
    once = WORK[kind](Jobs(database))

    def work() -> None:
        for _ in range(WARM):
            once()
        line.wait()  # warm
        line.wait()  # watched
        for _ in range(each):
            once()
        line.wait()  # done
        line.wait()  # seen: a server's process that has ended cannot be asked any more

    hands = [threading.Thread(target=work) for _ in range(threads)]
    for hand in hands:
        hand.start()
    line.wait()
    before = time.process_time()
    line.wait()
    line.wait()
    used.put(time.process_time() - before)
    line.wait()
    for hand in hands:
        hand.join()
    database.close()


def measured(store: Store, kind: str, *, processes: int, threads: int, count: int) -> Rates:
    each = max(1, count // (processes * threads))
    context = multiprocessing.get_context("spawn")
    line, used = context.Barrier(processes * (threads + 1) + 1), context.Queue()
    named = {"threads": threads, "each": each, "line": line, "used": used}
    parts = [context.Process(target=worker, args=(store.url, kind), kwargs=named) for _ in range(processes)]
    for part in parts:
        part.start()
    line.wait(120)
    server, begun = store.server_seconds(), time.perf_counter()
    line.wait(120)
    line.wait()
    took, server = time.perf_counter() - begun, store.server_seconds() - server
    line.wait()
    workers = sum(used.get() for _ in parts)
    for part in parts:
        part.join()
    done = each * processes * threads
    return Rates(a_second=done / took, worker_ms=1000 * workers / done, server_ms=1000 * server / done)


def profiled(store: Store, count: int) -> None:
    database = Database(store.url)
    jobs = Jobs(database)
    submit, read = submits(jobs), reads(jobs)
    for _ in range(count + WARM):
        submit()
    for _ in range(WARM):
        read()
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    for _ in range(count):
        read()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    database.close()


def audited(database: Database, count: int) -> str:
    for begin in range(0, count, 5000):
        rows = [entry(Action.READ, actor="key:lab", job_id="job_x") for _ in range(min(5000, count - begin))]
        with database.write() as connection:
            note_all(connection, rows)
    begun = time.perf_counter()
    chained = 0
    while laid := Audit(database).chain():
        chained += laid
    between = time.perf_counter()
    assert verify(database).findings == ()
    took = between - begun, time.perf_counter() - between
    return f"{chained} rows: {chained / took[0]:.0f} chained and {chained / took[1]:.0f} verified a second"


@contextmanager
def subscribed(kind: str, endpoints: int) -> Iterator[Store]:
    with empty_store(kind) as store:
        database = Database(store.url)
        for number in range(endpoints):
            Endpoints(database).add(f"lis{number}", f"https://lis{number}.example/events", secret=SECRET)
        database.close()
        yield store


def table(store: Store, options: argparse.Namespace) -> None:
    print("| processes | threads | submitted a second | worker ms | server ms |", end="")
    print(" claimed and finished a second | worker ms | server ms |")
    print("|---|---|---|---|---|---|---|---|")
    for processes in options.processes:
        for threads in options.threads:
            shape = {"processes": processes, "threads": threads, "count": options.count}
            submitted = measured(store, "submit", **shape)
            finished = measured(store, "read", **shape)
            print(f"| {processes} | {threads} | {submitted} | {finished} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--endpoints", type=int, default=1)
    parser.add_argument("--audit", type=int, default=0, metavar="ROWS")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with subscribed(options.database, options.endpoints) as store:
        print(machine(store), flush=True)
        if options.profile:
            profiled(store, options.count)
        elif options.processes:
            table(store, options)
        if options.audit:
            print(audited(Database(store.url), options.audit))


if __name__ == "__main__":
    main()
