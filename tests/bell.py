"""This process's end of the bell, for tests and benchmarks that ring at one broker after another."""

from __future__ import annotations

from worker.app import app


def hang_up() -> None:
    """Let go of the broker. The pool of producers outlives `close`, and would ring at this one for the next."""
    app.close()
    app.amqp._producer_pool = None
