"""What the queue can ask of a worker. The bodies are short: the work is in `worker.service`."""

from __future__ import annotations

from celery.signals import worker_shutting_down

from worker.app import READ, READ_QUEUE, app, ring
from worker.drain import Drain
from worker.service import Service

_installed: list[tuple[Service, Drain]] = []


def install(service: Service, drain: Drain) -> None:
    """Give the tasks of this process their service. Called once, by the program."""
    _installed[:] = [(service, drain)]


@app.task(name=READ)
def read() -> None:
    """Before: perhaps something is queued. After: nothing is, or it is in other hands, or rung for anew."""
    for service, _ in _installed:
        if service.hear():
            ring(READ, queue=READ_QUEUE)


@worker_shutting_down.connect
def _drain(**__: object) -> None:
    """SIGTERM or SIGINT, each time. Celery waits for the running tasks by itself; the drain bounds that."""
    for _, drain in _installed:
        drain.begin()
