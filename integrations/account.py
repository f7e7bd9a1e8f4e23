"""Account: what is told of jobs that are taken in and of events that go out: counts, spans, log lines.

In: ids of new jobs, or an attempt to deliver, and when it began. Out: metrics (`worker.metrics`), spans
(`worker.traces`), and one log line a job. It decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from worker import log, metrics, traces
from worker.errors import PathlaneError
from worker.jobs.event import Delivery, DeliveryStatus, Outcome
from worker.jobs.trace import trace_of
from worker.metrics import Stage
from worker.traces import Span, SpanName

#: seconds since 1970: stages begin in one program and end in another
now: Final = time.time

#: scheme of an endpoint's URL -> how it is told
CHANNEL_OF: Final = {
    "http": "webhook", "https": "webhook", "mllp": "hl7", "mllps": "hl7",
    "fhir+http": "fhir", "fhir+https": "fhir", "dicom": "dicom", "dicom+tls": "dicom",
    "dicomweb+http": "dicom", "dicomweb+https": "dicom",
}  # fmt: skip

logger = log.get(__name__)


def taken_in(job_ids: Iterable[str], *, channel: str, began: float, traceparent: str | None = None) -> None:
    """New jobs were stored; `began` is when somebody began to look at what asked for them."""
    ended = now()
    for job_id in job_ids:
        metrics.JOBS_SUBMITTED.labels(channel).inc()
        logger.info(
            "job.submitted", job_id=job_id, channel=channel, **traces.log_context(job_id, traceparent)
        )
        tell_submitted(job_id, channel=channel, began=began, ended=ended, traceparent=traceparent)


def tell_submitted(
    job_id: str, *, channel: str, began: float, ended: float, traceparent: str | None = None
) -> None:
    if traces.is_on():
        traces.tell(Span(
            name=SpanName.SUBMIT, job_id=job_id, trace=trace_of(job_id, traceparent), began=began,
            ended=ended, attributes={"channel": channel},
        ))  # fmt: skip


def refused(error: PathlaneError, *, channel: str) -> None:
    """What somebody sent was not taken."""
    metrics.SUBMISSIONS_REFUSED.labels(channel, error.code).inc()


def channel_of(delivery: Delivery) -> str:
    return CHANNEL_OF.get(urlsplit(delivery.endpoint.url).scheme, "unknown")


def log_context(delivery: Delivery) -> dict[str, str | int]:
    """What every log line about `delivery` says."""
    ids: dict[str, str | int] = {"delivery_id": delivery.id, "endpoint_id": delivery.endpoint.id}
    ids |= {"attempt": delivery.attempt}
    if delivery.job_id is None:
        return ids
    return ids | {"job_id": delivery.job_id} | traces.log_context(delivery.job_id, delivery.traceparent)


def attempted(delivery: Delivery, outcome: Outcome, *, began: float) -> None:
    """One attempt at `delivery` is over. A test event is of no job: it has no lag and no trace."""
    ended, channel, status = now(), channel_of(delivery), outcome.status
    metrics.DELIVERY_ATTEMPTS.labels(channel, status.value).inc()
    metrics.STAGE_SECONDS.labels(Stage.DELIVERY.value).observe(max(0.0, ended - began))
    if delivery.job_id is None:
        return
    if status is DeliveryStatus.DELIVERED and delivery.created_at is not None:
        lag = max(0.0, ended - delivery.created_at.timestamp())
        metrics.DELIVERY_LAG.labels(channel).observe(lag)
    if traces.is_on():
        traces.tell(Span(
            name=SpanName.DELIVER, job_id=delivery.job_id,
            trace=trace_of(delivery.job_id, delivery.traceparent), began=began, ended=ended,
            attributes={
                "channel": channel, "attempt": delivery.attempt, "status": status.value,
                "http_status": outcome.http_status, "reason": outcome.reason or None,
            },
            is_error=status in {DeliveryStatus.PENDING, DeliveryStatus.EXHAUSTED, DeliveryStatus.GONE},
        ))  # fmt: skip
