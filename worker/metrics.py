"""Metrics: every name that Prometheus may hear of, once, and where a program answers it.

In: numbers, from whoever counts. Out: `/metrics` on a port of its own, on loopback unless the operator says
otherwise. A label's values are a closed set: never an id, a name or an address. It knows no store and no job;
`docs/reference/metrics.md` is made from what is declared here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from worker import __version__, log
from worker.jobs.event import DeliveryStatus
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority

M = TypeVar("M", Counter, Gauge, Histogram)

logger = log.get(__name__)

# When a series began says its first sample; without this, every counter would be two.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Program(StrEnum):
    """Who answers; each on a port of its own."""

    GATEWAY = "gateway"
    COURIER = "courier"
    HL7 = "hl7"
    DICOM = "dicom"
    FHIR = "fhir"
    WORKER = "worker"

    @property
    def place(self) -> int:
        """Its port is PATHLANE_METRICS_PORT and this; of a worker of `cuda:N`, and N."""
        return 10 if self is Program.WORKER else list(Program).index(self)


class Stage(StrEnum):
    """The parts of a job's way whose time is taken."""

    QUEUE = "queue"
    IMAGING = "imaging"
    ENGINE = "engine"
    FINISH = "finish"
    DELIVERY = "delivery"


class SeenBy(StrEnum):
    """Who notices that a lease was lost."""

    SWEEP = "sweep"  #: somebody else, after it ran out: its holder is gone, or cut off
    HOLDER = "holder"  #: its holder, when it came to write the end down


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: who answers it, and with which values of its labels."""

    metric: Counter | Gauge | Histogram
    programs: tuple[Program, ...]
    #: label -> all its values; none for `code`, whose values are in docs/reference/errors.md
    labels: dict[str, tuple[str, ...]]


FAMILIES: Final[list[Family]] = []

TAKERS: Final = (Program.GATEWAY, Program.COURIER, Program.HL7, Program.DICOM, Program.FHIR)
PRIORITIES: Final = tuple(priority.value for priority in Priority)
FAILED: Final = "failed"
OUTCOMES: Final = (*(outcome.value for outcome in ReadingOutcome), FAILED)
#: how a request comes in
WAYS_IN: Final = ("http", "celery", "hl7", "fhir", "dicom")
#: how an event goes out
CHANNELS: Final = ("webhook", "hl7", "fhir", "dicom", "unknown")
CODES: Final = ()

_QUICK: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_SLOW: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)


def _counter(name: str, text: str, *programs: Program, **labels: tuple[str, ...]) -> Counter:
    return _declared(Counter(name, text, tuple(labels), registry=None), programs, labels)


def _gauge(name: str, text: str, *programs: Program, **labels: tuple[str, ...]) -> Gauge:
    return _declared(Gauge(name, text, tuple(labels), registry=None), programs, labels)


def _histogram(
    name: str, text: str, *programs: Program, buckets: Sequence[float], **labels: tuple[str, ...]
) -> Histogram:
    metric = Histogram(name, text, tuple(labels), buckets=buckets, registry=None)
    return _declared(metric, programs, labels)


def _declared(metric: M, programs: tuple[Program, ...], labels: dict[str, tuple[str, ...]]) -> M:
    """Closed sets are there from the start, all of them: a rate needs a zero to rise from."""
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)
    FAMILIES.append(Family(metric=metric, programs=programs, labels=labels))
    return metric


JOBS_SUBMITTED = _counter(
    "pathlane_jobs_submitted_total", "Jobs that were stored.", *TAKERS, channel=WAYS_IN,
)  # fmt: skip
SUBMISSIONS_REFUSED = _counter(
    "pathlane_submissions_refused_total",
    "Requests, orders and messages that were not taken, by the error's code.",
    *TAKERS, channel=WAYS_IN, code=CODES,
)  # fmt: skip

STORE_UP = _gauge(
    "pathlane_store_up", "1 when the database answered the last look; else 0, and what it says is NaN.",
    Program.GATEWAY,
)  # fmt: skip
QUEUE_DEPTH = _gauge(
    "pathlane_queue_depth", "Jobs that are queued, by the priority they were asked for.",
    Program.GATEWAY, priority=PRIORITIES,
)  # fmt: skip
QUEUE_AGE = _gauge(
    "pathlane_queue_oldest_age_seconds", "How long ago the oldest queued job was submitted; 0 without one.",
    Program.GATEWAY, priority=PRIORITIES,
)  # fmt: skip
QUEUE_LIMIT = _gauge(
    "pathlane_queue_limit", "Queued jobs at which STAT is refused (PATHLANE_QUEUE_LIMIT); 0 is no limit.",
    Program.GATEWAY,
)  # fmt: skip
JOBS_RUNNING = _gauge("pathlane_jobs_running", "Jobs that some worker holds the lease of.", Program.GATEWAY)
DELIVERIES_DUE = _gauge(
    "pathlane_deliveries_due", "Deliveries that may be sent now, to endpoints that are not paused.",
    Program.GATEWAY,
)  # fmt: skip
DELIVERIES_FAILING = _gauge(
    "pathlane_deliveries_failing", "Deliveries that were tried at least once and are tried again.",
    Program.GATEWAY,
)  # fmt: skip
DELIVERY_AGE = _gauge(
    "pathlane_delivery_oldest_due_age_seconds",
    "How long the delivery has been due that was due first; 0 without one.",
    Program.GATEWAY,
)  # fmt: skip
WORKERS = _gauge("pathlane_workers", "Workers that reported within two leases.", Program.GATEWAY)
WORKERS_SLOTS = _gauge("pathlane_workers_slots", "Slots of all workers that report.", Program.GATEWAY)
WORKERS_RUNNING = _gauge(
    "pathlane_workers_running", "Jobs that all workers held when they last reported.", Program.GATEWAY
)

SLOTS = _gauge("pathlane_slots", "Cases this device reads at once at most (PATHLANE_SLOTS).", Program.WORKER)
SLOTS_USED = _gauge(
    "pathlane_slots_used", "Slot files this process holds; add up those of a device's processes.",
    Program.WORKER,
)  # fmt: skip
STAGE_SECONDS = _histogram(
    "pathlane_stage_duration_seconds",
    "Time of one stage: `queue` until a claim, `imaging`, `engine` from a prompt's first step to its last, "
    "`finish` until the end is stored, `delivery` one attempt.",
    Program.WORKER, Program.COURIER, buckets=_QUICK, stage=tuple(stage.value for stage in Stage),
)  # fmt: skip
QUEUE_WAIT = _histogram(
    "pathlane_queue_wait_seconds", "From when a job might be claimed to its claim, for every attempt.",
    Program.WORKER, buckets=_SLOW, priority=PRIORITIES,
)  # fmt: skip
TURNAROUND = _histogram(
    "pathlane_turnaround_seconds", "From submission to the stored reading, over all attempts.",
    Program.WORKER, buckets=_SLOW, priority=PRIORITIES,
)  # fmt: skip
JOBS_ENDED = _counter(
    "pathlane_jobs_ended_total",
    "Jobs that ended, once each: with a reading's outcome, or `failed`. Those that were taken back while "
    "they were queued are not among them.",
    Program.WORKER, Program.COURIER, outcome=OUTCOMES,
)  # fmt: skip
ATTEMPTS_FAILED = _counter(
    "pathlane_attempts_failed_total", "Attempts at a reading that ended in an error, tried again or not.",
    Program.WORKER, code=CODES,
)  # fmt: skip
LEASE_LOSSES = _counter(
    "pathlane_lease_losses_total",
    "Leases that ran out, seen by whoever swept (`sweep`) or by the holder when it came to write (`holder`).",
    Program.WORKER, Program.COURIER, seen_by=tuple(seen.value for seen in SeenBy),
)  # fmt: skip
PROMPT_TOKENS = _counter(
    "pathlane_prompt_tokens_total",
    "Tokens of prompts and images, of readings that were stored.",
    Program.WORKER,
)
GENERATED_TOKENS = _counter(
    "pathlane_generated_tokens_total", "Tokens the model wrote, of readings that were stored.", Program.WORKER
)
CASE_GPU_SECONDS = _histogram(
    "pathlane_case_gpu_seconds",
    "A case's share of the device's time (the CPU's where there is no GPU): of each step, its rows over all "
    "rows. With the engine `served`, of the time that was waited for the server.",
    Program.WORKER, buckets=_QUICK,
)  # fmt: skip

DELIVERY_ATTEMPTS = _counter(
    "pathlane_delivery_attempts_total",
    "Attempts to deliver, by what the delivery was after them; `pending` is tried again.",
    Program.COURIER, channel=CHANNELS, status=tuple(status.value for status in DeliveryStatus),
)  # fmt: skip
DELIVERY_LAG = _histogram(
    "pathlane_delivery_lag_seconds",
    "From the job's end to the receiver's yes, over all attempts; a replay counts from the job's end too.",
    Program.COURIER, buckets=_SLOW, channel=CHANNELS,
)  # fmt: skip


def registry_of(*programs: Program) -> CollectorRegistry:
    """What these programs answer: their families, the process's own, and the version."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info("pathlane_build", "Version and program.", registry=registry)
    build.info({"version": __version__, "program": ",".join(programs)})
    for family in FAMILIES:
        if not set(programs).isdisjoint(family.programs):
            registry.register(family.metric)
    return registry


def serve(program: Program, *, host: str, port: int, number: int = 0) -> None:
    """Answer scrapes from a thread of their own; `port` 0 is never. Called by entrances, once.

    A port that somebody else has costs the metrics of this process, and not its cases.
    """
    if not port:
        return
    port += program.place + number
    try:
        prometheus_client.start_http_server(port, host, registry_of(program))
    except OSError:
        logger.error("metrics.not_served", host=host, port=port)
    else:
        logger.info("metrics.served", host=host, port=port)
