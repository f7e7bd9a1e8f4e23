"""Events and deliveries: what is told to whom, and how far the telling has come.

In: a job that ended. Out: an event body (bytes, thin unless the endpoint asks for more) and the
values that walk between the outbox and a channel. Nothing here knows HTTP.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from worker.jobs.job import Job, Status
from worker.jobs.reading import RESEARCH_USE, Reading


class EventType(StrEnum):
    """The type of an event, as it stands in its body."""

    JOB_SUCCEEDED = "job.succeeded"  #: it has its reading
    JOB_FAILED = "job.failed"  #: it ended without one; `error` says why
    JOB_CANCELLED = "job.cancelled"  #: its asker took it back
    ENDPOINT_TEST = "endpoint.test"  #: somebody wants to know whether events arrive


EVENT_OF = {
    Status.SUCCEEDED: EventType.JOB_SUCCEEDED,
    Status.FAILED: EventType.JOB_FAILED,
    Status.CANCELLED: EventType.JOB_CANCELLED,
}
#: what an endpoint can subscribe to
JOB_EVENTS = tuple(EVENT_OF.values())


class Payload(StrEnum):
    """How much an endpoint is sent."""

    THIN = "thin"  #: ids, status, provenance and where to fetch the rest: no text of the case
    FULL = "full"  #: reasoning and answer too


class EndpointStatus(StrEnum):
    ACTIVE = "active"  #: it is told
    PAUSED = "paused"  #: the operator paused it: deliveries wait
    GONE = "gone"  #: it answered 410: nothing more is sent


class DeliveryStatus(StrEnum):
    PENDING = "pending"  #: due at `next_at`
    DELIVERED = "delivered"  #: the receiver said 2xx
    EXHAUSTED = "exhausted"  #: every attempt failed; replay sends it again
    GONE = "gone"  #: the receiver said 410
    DROPPED = "dropped"  #: it was no longer true when its turn came: superseded, withdrawn, signed out


DELIVERY_TRANSITIONS: dict[tuple[DeliveryStatus, DeliveryStatus], str] = {
    (DeliveryStatus.PENDING, DeliveryStatus.PENDING): "attempt failed, due later",
    (DeliveryStatus.PENDING, DeliveryStatus.DELIVERED): "2xx",
    (DeliveryStatus.PENDING, DeliveryStatus.EXHAUSTED): "last attempt failed",
    (DeliveryStatus.PENDING, DeliveryStatus.GONE): "410",
    (
        DeliveryStatus.PENDING,
        DeliveryStatus.DROPPED,
    ): "superseded, withdrawn or signed out before it was sent",
    (DeliveryStatus.DELIVERED, DeliveryStatus.PENDING): "replay",
    (DeliveryStatus.EXHAUSTED, DeliveryStatus.PENDING): "replay",
    (DeliveryStatus.GONE, DeliveryStatus.PENDING): "replay",
    (DeliveryStatus.DROPPED, DeliveryStatus.PENDING): "replay",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    #: `ep_` and a ULID
    id: str
    name: str
    url: str
    status: EndpointStatus
    event_types: tuple[EventType, ...]
    payload: Payload
    #: the newest first; two while a rotation lasts
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Endpoint(id={self.id!r}, status={self.status.value!r}, secrets=[{len(self.secrets)} hidden])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    #: `msg_` and a ULID: the `webhook-id`, the same on every attempt
    id: str
    #: None: a test event
    job_id: str | None
    endpoint: Endpoint
    event_type: EventType
    #: frozen when the job ended; signed as it is
    body: bytes
    #: from 1; the fence of the write that follows
    attempt: int
    #: when the event was written down, which is when its job ended
    created_at: datetime | None = None
    #: of its job, where its submitter sent one
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one attempt to deliver."""

    status: DeliveryStatus
    #: how long to wait before the next attempt, when `status` is pending
    wait: timedelta | None = None
    #: the receiver's HTTP status, where it gave one
    http_status: int | None = None
    #: a word for the log and the console: `timeout`, `refused`, `tls`, `address_refused` ...
    reason: str = ""
    #: the beginning of the receiver's answer, ANSWER_KEPT bytes at most; it may hold text of a case
    answer: bytes = field(default=b"", repr=False, compare=False)


#: of a receiver's answer, so much is kept, in bytes
ANSWER_KEPT = 1024


def body_of_test(endpoint_id: str, *, at: datetime) -> bytes:
    """The body of a test event, UTF-8 JSON: it tells of no job."""
    return _encoded(EventType.ENDPOINT_TEST, at, {"endpoint_id": endpoint_id})


def event_body(job: Job, reading: Reading | None, *, at: datetime, base_url: str, payload: Payload) -> bytes:
    """The body of the event that tells of `job`'s end, UTF-8 JSON: `{type, timestamp, data}`."""
    data: dict[str, Any] = {
        "job_id": job.id,
        "correlation_id": job.request.correlation_id,
        "status": job.status.value,
        "priority": job.priority.value,
        "attempt": job.attempt,
        "error": {"code": job.error_code, "text": job.error_text} if job.error_code else None,
        "result_url": f"{base_url.rstrip('/')}/v1/jobs/{job.id}",
        "research_use_only": True,
        "human_review": "required",
        "notice": reading.provenance.notice if reading else RESEARCH_USE,
    }
    if reading is not None:
        data["outcome"] = reading.outcome.value
        data["model"] = {
            "id": reading.provenance.model,
            "weights_digest": reading.provenance.weights_digest,
            "license": reading.provenance.license,
        }
        if payload is Payload.FULL:
            data["reading"] = {k: asdict(reading)[k] for k in ("reasoning", "answer", "choice")}
    return _encoded(EVENT_OF[job.status], at, data)


def _encoded(event_type: EventType, at: datetime, data: dict[str, Any]) -> bytes:
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"type": event_type.value, "timestamp": stamp, "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
