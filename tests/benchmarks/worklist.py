"""Milliseconds the server takes for a page of a worklist of so many jobs, as the console asks for it.

    python -m tests.benchmarks.worklist --jobs 10000 --times 20

In: SQLite in a new folder, or `--database URL` (an empty one). Out: the middle and the slowest of each question:
the first page of what is open, one in the middle, what has ended, and a search by accession. Measured around the
whole application, in this process, without a network. A third of the jobs has ended with a reading.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import insert, select
from ulid import ULID

from integrations.http_api.app import create_app
from tests.benchmarks.databases import machine
from tests.builders import a_reading, a_request
from tests.integration.http_api.conftest import KEY, an_api
from worker.store import schema
from worker.store.job_rows import jobs
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.readings import readings
from worker.store.session import Database

OPEN = {"status": ["queued", "running"], "order": "worklist", "limit": 100}
ENDED = {"status": ["succeeded", "failed", "cancelled"], "order": "newest", "limit": 100}


def fill(database: Database, count: int) -> None:
    """Rows as submissions and readings make them, written together."""
    store = Jobs(database)
    job = store.submit(a_request(priority="stat"), submitter="lab").job
    claimed = store.claim(worker_id="w", lease_seconds=60)
    assert claimed is not None
    store.finish(claimed, a_reading())
    with database.write() as connection:
        ended = dict(connection.execute(select(jobs).where(jobs.c.id == job.id)).mappings().one())
        reading = dict(connection.execute(select(readings)).mappings().one())
        queued = ended | {"status": "queued", "finished_at": None, "attempt": 0}
        rows = [_row(queued if n % 3 else ended, n) for n in range(count - 1)]
        connection.execute(insert(jobs), rows)
        read = [reading | {"job_id": row["id"]} for row in rows if row["status"] == "succeeded"]
        connection.execute(insert(readings), read)


def _row(like: dict[str, Any], number: int) -> dict[str, Any]:
    level = (2, 2, 2, 1, 2, 2, 0)[number % 7]
    return like | {"id": f"job_{ULID()}", "level": level, "asked_level": level, "idempotency_key": None}


def took(question: Callable[[], object], times: int) -> str:
    question()
    spent = []
    for _ in range(times):
        begun = time.perf_counter()
        question()
        spent.append((time.perf_counter() - begun) * 1000)
    return f"{median(spent):7.1f} {max(spent):7.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pathlane-worklist-") as folder:
        database = Database(options.database or f"sqlite:///{folder}/pathlane.db")
        schema.migrate(database)
        fill(database, options.jobs)
        Keys(database).add("bench", KEY)
        headers = {"authorization": f"Bearer {KEY}"}
        with TestClient(create_app(an_api(database, Path(folder))), headers=headers) as client:
            print(machine())
            print(f"{options.jobs} jobs, {database.engine.dialect.name}\n{'':34}  middle slowest  (ms)")
            for name, question in questions(client).items():
                print(f"{name:34} {took(question, options.times)}", flush=True)
        database.close()


def questions(client: TestClient) -> dict[str, Callable[[], object]]:
    def page(asked: dict[str, Any]) -> dict[str, Any]:
        answer = client.get("/v1/jobs", params=asked)
        answer.raise_for_status()
        return answer.json()

    cursor = None
    for _ in range(30):
        cursor = page(OPEN | ({"cursor": cursor} if cursor else {}))["next"] or cursor
    search = {"accession": "S26-0001"}
    return {
        "open, first page": lambda: page(OPEN),
        "open, a page in the middle": lambda: page(OPEN | {"cursor": cursor}),
        "open, STAT alone": lambda: page(OPEN | {"priority": "stat"}),
        "ended, first page with answers": lambda: page(ENDED),
        "search by accession": lambda: client.post("/v1/jobs/search", json=search).raise_for_status(),
        "status": lambda: client.get("/v1/status").raise_for_status(),
    }


if __name__ == "__main__":
    main()
