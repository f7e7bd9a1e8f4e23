"""A job as others see it: one document for the API, the command line and the console.

In: values of the store. Out: plain JSON data. It leaves nothing out that the asker may have, and adds
nothing that the store does not say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from worker.jobs.job import Job
from worker.jobs.reading import Reading
from worker.store.outbox import DeliveryState


def job_document(
    job: Job, reading: Reading | None, deliveries: Iterable[DeliveryState] = ()
) -> dict[str, Any]:
    request = job.request
    return {
        "id": job.id,
        "status": job.status.value,
        "priority": job.priority.value,
        "style": request.style.value,
        "question": request.question,
        "options": list(request.options),
        "correlation_id": request.correlation_id,
        "labels": dict(request.labels),
        "attempt": job.attempt,
        "created_at": instant(job.created_at),
        "due_at": instant(request.due_at),
        "finished_at": instant(job.finished_at),
        "error": {"code": job.error_code, "text": job.error_text} if job.error_code else None,
        "reading": None if reading is None else reading_document(reading),
        "deliveries": [delivery_document(delivery) for delivery in deliveries],
    }


def reading_document(reading: Reading) -> dict[str, Any]:
    return asdict(reading) | {"outcome": reading.outcome.value}


def delivery_document(delivery: DeliveryState) -> dict[str, Any]:
    return asdict(delivery) | {
        "event_type": delivery.event_type.value,
        "status": delivery.status.value,
        "next_at": instant(delivery.next_at),
        "delivered_at": instant(delivery.delivered_at),
    }


def instant(moment: datetime | None) -> str | None:
    """RFC 3339, UTC, milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
