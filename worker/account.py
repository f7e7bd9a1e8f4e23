"""Account: what is told of a case's way through a worker, in counts, times and spans.

In: a claimed job, what came of it, and when. Out: metrics (`worker.metrics`) and spans (`worker.traces`). It
decides nothing and touches no store: a case goes the same way whether anybody counts.
"""

from __future__ import annotations

import time
from typing import Final

from worker import log, metrics, traces
from worker.errors import AttemptsExhausted, PathlaneError
from worker.jobs.job import Job, Status
from worker.jobs.reading import Reading, ReadingOutcome
from worker.jobs.trace import trace_of
from worker.metrics import SeenBy, Stage
from worker.store.jobs import Sweep
from worker.traces import Span, SpanName, Value

#: seconds since 1970: stages begin in one program and end in another
now: Final = time.time

logger = log.get(__name__)


def log_context(job: Job) -> dict[str, str | int]:
    """What every log line about `job` says."""
    return job.log_context() | traces.log_context(job.id, job.traceparent)


def claimed(job: Job) -> float:
    """It was claimed; gives when."""
    at, since = now(), job.not_before.timestamp()
    wait = max(0.0, at - since)
    _took(Stage.QUEUE, wait)
    metrics.QUEUE_WAIT.labels(job.priority.value).observe(wait)
    _tell(job, SpanName.QUEUE, since, at)
    return at


def read(job: Job, result: Reading | PathlaneError, *, began: float) -> None:
    """The model, or whatever came before it, is done with `job`."""
    ended = now()
    if isinstance(result, PathlaneError):
        metrics.ATTEMPTS_FAILED.labels(result.code).inc()
        _tell(job, SpanName.READ, began, ended, code=result.code)
        return
    for stage in (Stage.IMAGING, Stage.ENGINE) if _is_of_a_model(result) else (Stage.IMAGING,):
        if stage.value in result.timings:
            _took(stage, result.timings[stage.value])
    if traces.is_on():
        traces.tell(_read_span(job, result, began, ended))


def ended(job: Job, result: Reading | PathlaneError, *, began: float) -> None:
    """What came of an attempt is stored; `began` is when the writing began."""
    at = now()
    _took(Stage.FINISH, at - began)
    _tell(job, SpanName.FINISH, began, at)
    if isinstance(result, Reading):
        _count(result)
        if result.outcome is not ReadingOutcome.CANCELLED:
            waited = max(0.0, at - job.created_at.timestamp())
            metrics.TURNAROUND.labels(job.priority.value).observe(waited)
    elif not job.is_tried_again_after(result):
        metrics.JOBS_ENDED.labels(metrics.FAILED).inc()


def given_up(status: Status) -> None:
    """A suspect's attempt is over, and perhaps the job with it."""
    if status is Status.FAILED:
        metrics.JOBS_ENDED.labels(metrics.FAILED).inc()
    elif status is Status.CANCELLED:
        metrics.JOBS_ENDED.labels(ReadingOutcome.CANCELLED.value).inc()


def lease_lost() -> None:
    """Its holder found out when it came to write."""
    metrics.LEASE_LOSSES.labels(SeenBy.HOLDER.value).inc()


def swept(found: Sweep) -> None:
    """Leases that ran out: tried again, failed as poison, or cancelled as was asked."""
    metrics.LEASE_LOSSES.labels(SeenBy.SWEEP.value).inc(len(found.lost))
    metrics.JOBS_ENDED.labels(metrics.FAILED).inc(found.poisoned)
    cancelled = len(found.lost) - found.returned - found.poisoned
    metrics.JOBS_ENDED.labels(ReadingOutcome.CANCELLED.value).inc(cancelled)
    for job_id in found.lost:
        logger.warning("job.lease_ran_out", job_id=job_id)
    if found.poisoned:
        logger.error("sweep.poison", count=found.poisoned, code=AttemptsExhausted.code)


def _is_of_a_model(reading: Reading) -> bool:
    """Of a slide without tissue no model was asked: its time would only make the model's look shorter."""
    return reading.outcome is not ReadingOutcome.NO_TISSUE_FOUND


def _took(stage: Stage, seconds: float) -> None:
    metrics.STAGE_SECONDS.labels(stage.value).observe(max(0.0, seconds))


def _count(reading: Reading) -> None:
    metrics.JOBS_ENDED.labels(reading.outcome.value).inc()
    metrics.PROMPT_TOKENS.inc(reading.prompt_tokens)
    metrics.GENERATED_TOKENS.inc(reading.completion_tokens)
    metrics.CASE_GPU_SECONDS.observe(reading.timings.get("device", 0.0))


def _tell(job: Job, name: SpanName, began: float, ended: float, *, code: str | None = None) -> None:
    if traces.is_on():
        attributes: dict[str, Value | None] = {
            "attempt": job.attempt, "priority": job.priority.value, "code": code,
        }  # fmt: skip
        traces.tell(Span(
            name=name, job_id=job.id, trace=trace_of(job.id, job.traceparent), began=began, ended=ended,
            attributes=attributes, is_error=code is not None,
        ))  # fmt: skip


def _read_span(job: Job, reading: Reading, began: float, ended: float) -> Span:
    """Images are opened first, and the model is the last to work on a case: its times tell when."""
    trace, spent = trace_of(job.id, job.traceparent), reading.timings
    prompt = ended - spent.get("engine", 0.0)
    token = prompt + spent.get("first_token", 0.0)
    parts = [(SpanName.IMAGING, began, began + spent.get("imaging", 0.0)), (SpanName.PREFILL, prompt, token),
             (SpanName.DECODE, token, ended)]  # fmt: skip
    if not _is_of_a_model(reading):
        del parts[1:]
    elif "first_token" not in spent:
        del parts[1]
    return Span(
        name=SpanName.READ, job_id=job.id, trace=trace, began=began, ended=ended,
        attributes={
            "attempt": job.attempt, "priority": job.priority.value, "outcome": reading.outcome.value,
            "prompt_tokens": reading.prompt_tokens, "completion_tokens": reading.completion_tokens,
            "rows": reading.provenance.rows, "device_seconds": spent.get("device"),
        },
        parts=tuple(
            Span(name=name, job_id=job.id, trace=trace, began=start, ended=end) for name, start, end in parts
        ),
    )  # fmt: skip
