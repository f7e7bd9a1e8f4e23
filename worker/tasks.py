"""What the queue can ask of a worker. The bodies are short: the work is in `worker.service`."""

from __future__ import annotations

from celery.signals import worker_shutting_down

from worker.app import READ, READ_QUEUE, app, ring
from worker.service import Service

_installed: list[Service] = []


def install(service: Service) -> None:
    """Give the tasks of this process their service. Called once, by the program."""
    _installed[:] = [service]


@app.task(name=READ)
def read() -> None:
    """Before: perhaps something is queued. After: nothing is, or it is in other hands, or rung for anew."""
    if _installed and _installed[0].work_off():
        ring(READ, queue=READ_QUEUE)


@worker_shutting_down.connect
def _drain(**_: object) -> None:
    """Running reads end; nothing new is claimed. Celery waits for the running tasks by itself."""
    for service in _installed:
        service.draining.set()
