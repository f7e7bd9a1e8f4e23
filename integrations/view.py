"""What the store holds, as others see it: one document for the API, the command line and the console.

In: values of the store. Out: plain JSON data. It leaves nothing out that the asker may have, and adds
nothing that the store does not say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from worker.jobs.event import Endpoint
from worker.jobs.job import Job
from worker.jobs.reading import Reading
from worker.jobs.request import Priority
from worker.jobs.review import Review
from worker.store.backlog import Queue
from worker.store.deliveries import Attempt
from worker.store.listing import Listed, Origin
from worker.store.outbox import DeliveryState
from worker.store.presence import Presence


def job_document(
    job: Job,
    reading: Reading | None,
    deliveries: Iterable[DeliveryState] = (),
    *,
    reviews: int = 0,
    origin: Origin | None = None,
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
        "submitter": job.submitter,
        "rerun_of": job.rerun_of,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "created_at": instant(job.created_at),
        "due_at": instant(request.due_at),
        "finished_at": instant(job.finished_at),
        "error": {"code": job.error_code, "text": job.error_text} if job.error_code else None,
        "origin": origin_document(origin),
        "reading": None if reading is None else reading_document(reading),
        "reviews": reviews,
        "deliveries": [delivery_document(delivery) for delivery in deliveries],
    }


def reading_document(reading: Reading) -> dict[str, Any]:
    return asdict(reading) | {"outcome": reading.outcome.value}


def listed_document(listed: Listed) -> dict[str, Any]:
    return {
        "id": listed.id,
        "status": listed.status.value,
        "priority": listed.priority.value,
        "attempt": listed.attempt,
        "cancel_requested": listed.cancel_requested,
        "created_at": instant(listed.created_at),
        "due_at": instant(listed.due_at),
        "finished_at": instant(listed.finished_at),
        "age_seconds": round(listed.age, 3),
        "submitter": listed.submitter,
        "correlation_id": listed.correlation_id,
        "rerun_of": listed.rerun_of,
        "error_code": listed.error_code,
        "question": listed.question,
        "outcome": listed.outcome.value if listed.outcome else None,
        "choice": listed.choice,
        "answer": listed.answer,
        "reviews": listed.reviews,
        "origin": origin_document(listed.origin),
    }


def origin_document(origin: Origin | None) -> dict[str, Any] | None:
    return None if origin is None else asdict(origin)


def delivery_document(delivery: DeliveryState) -> dict[str, Any]:
    return asdict(delivery) | {
        "event_type": delivery.event_type.value,
        "status": delivery.status.value,
        "created_at": instant(delivery.created_at),
        "next_at": instant(delivery.next_at),
        "delivered_at": instant(delivery.delivered_at),
    }


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    return asdict(attempt) | {"status": attempt.status.value, "at": instant(attempt.at)}


def endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    """Without its secrets."""
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "status": endpoint.status.value,
        "payload": endpoint.payload.value,
        "events": [event_type.value for event_type in endpoint.event_types],
        "secrets": len(endpoint.secrets),
    }


def review_document(review: Review) -> dict[str, Any]:
    return asdict(review) | {"verdict": review.verdict.value, "created_at": instant(review.created_at)}


def worker_document(worker: Presence) -> dict[str, Any]:
    return asdict(worker) | {"started_at": instant(worker.started_at), "seen_at": instant(worker.seen_at)}


def queue_document(queue: Queue) -> dict[str, Any]:
    """By priority, as it was asked for."""
    return {
        priority.value: {
            "queued": queue.queued[priority],
            "oldest_seconds": _rounded(queue.oldest[priority]),
            "running": queue.running[priority],
        }
        for priority in Priority
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def instant(moment: datetime | None) -> str | None:
    """RFC 3339, UTC, milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
