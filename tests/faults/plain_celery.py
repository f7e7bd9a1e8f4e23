"""The control: a plain Celery worker as one would first write it. It loses jobs, and the checker must say so.

The job is in the message, the message is acknowledged before the work, nobody sweeps. It writes the same
tables, so that the same checker judges it.
"""

from __future__ import annotations

import json
import os
import time
import warnings

from celery import Celery
from celery.exceptions import SecurityWarning
from sqlalchemy import create_engine, event, text

READ = "plain.read"
SECONDS = 0.02

app = Celery("plain", broker=os.environ.get("PATHLANE_BROKER_URL"), set_as_current=False)
app.conf.update(
    task_acks_late=False, task_ignore_result=True, broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
)  # fmt: skip

JOB = """INSERT INTO jobs (id, status, level, due_order, created_at, not_before, attempt, alone,
 cancel_requested, submitter, request, request_digest)
 VALUES (:id, 'succeeded', 2, :at, :at, :at, 1, false, false, 'plain', :request, '')"""
READING = """INSERT INTO readings (job_id, attempt, created_at, outcome, reasoning, answer, raw_text,
 prompt_tokens, completion_tokens, timings, provenance)
 VALUES (:id, 1, :at, 'answered', '', 'yes', '', 1, 1, '{}', '{}')"""


def engine_of(url):
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=30000"))
    return engine


@app.task(name=READ)
def read(job_id):
    time.sleep(SECONDS)
    row = {"id": job_id, "at": "2026-01-01 00:00:00", "request": json.dumps({"endpoints": []})}
    with app.engine.begin() as connection:
        connection.execute(text(JOB), row)
        connection.execute(text(READING), row)


def main():
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app.engine = engine_of(os.environ["PATHLANE_DATABASE_URL"])
    app.worker_main([
        "--quiet", "worker", "--pool=threads", "--concurrency=4", "--without-gossip", "--without-mingle",
        "--loglevel=WARNING", f"--hostname=plain-{os.getpid()}@%h",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
