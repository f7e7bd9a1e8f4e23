"""Documents: what the API takes and gives, for its description, and for the checks on what comes in.

In: nothing. Out: pydantic models. What is given is made by `integrations.view`; the models of answers are its
description alone, and a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from worker.jobs.event import DeliveryStatus, EndpointStatus, EventType, Payload
from worker.jobs.job import Status
from worker.jobs.order import Channel
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import PLAIN, Priority, Style
from worker.jobs.review import Verdict
from worker.jobs.scope import Scope

JOB: str = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
AT: str = "2026-11-24T09:00:00.000Z"

#: RFC 3339, UTC, milliseconds
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time", "examples": [AT]})]

_ID = {"min_length": 1, "max_length": 64, "pattern": r"^[0-9A-Za-z_]+$"}
JobId = Annotated[str, Path(**_ID, examples=[JOB])]
EndpointId = Annotated[str, Path(**_ID, examples=["ep_01ARZ3NDEKTSV4RRFFQ69G5FAV"])]
DeliveryId = Annotated[str, Path(**_ID, examples=["msg_01ARZ3NDEKTSV4RRFFQ69G5FAV"])]

Cursor = Annotated[
    str | None,
    Field(
        min_length=1, max_length=500, pattern=r"^[0-9A-Za-z_=-]+$", description="`next` of the page before."
    ),
]
#: of an id in a filter
Named = Annotated[str, StringConstraints(**_ID)]
Words = Annotated[str, StringConstraints(max_length=4000, pattern=PLAIN)]


_PARAMETERS: Final = frozenset(
    {"job_id", "endpoint_id", "delivery_id", "number", "Idempotency-Key", "If-None-Match", "Last-Event-ID"}
)


class Given(BaseModel):
    """What comes in. A field that is not known is refused: a filter misspelt would show everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def names_of_fields(model: type[BaseModel] = Given) -> frozenset[str]:
    """Of everything that can come in, once all routes are known. Any other name may be text of a case."""
    below = (names_of_fields(one) for one in model.__subclasses__())
    return frozenset(model.model_fields).union(_PARAMETERS, *below)


class Shown(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True)


class FieldProblem(Shown):
    field: str
    reason: str


class Problem(Shown):
    """RFC 9457. `code` is listed in docs/reference/errors.md."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldProblem] = []


class JobError(Shown):
    code: str
    text: str | None


class OriginShown(Shown):
    """The order a job came from, or the one it asks again."""

    case_id: str
    domain: str
    accession: str
    slide: str
    protocol: str
    channel: Channel | Literal[""]
    application: str
    facility: str


class PatchShown(Shown):
    """Which pixels the model was shown."""

    image: int
    source_digest: str
    pixels_digest: str
    format: str
    width: int
    height: int
    region: list[int] | None
    frame: int | None
    steps: list[str]


class ProvenanceShown(Shown):
    model: str
    weights_digest: str
    license: str
    notice: str
    prompt_version: str
    decoding: dict[str, Any]
    engine: str
    rows: int
    dtype: str
    device: str
    seed: int
    software: dict[str, str]
    patches: list[PatchShown]


class ReadingShown(Shown):
    outcome: ReadingOutcome
    reasoning: str
    answer: str
    choice: str | None
    raw_text: str
    prompt_tokens: int
    completion_tokens: int
    timings: dict[str, float]
    provenance: ProvenanceShown


class PictureShown(PatchShown):
    """A patch, and where its picture is."""

    #: None: it was not kept
    url: str | None


class ReadingWithPictures(ReadingShown):
    job_id: str
    pictures: list[PictureShown]


class DeliveryShown(Shown):
    id: str
    job_id: str | None = Field(description="None: a test event.")
    endpoint: str
    endpoint_id: str
    event_type: EventType
    status: DeliveryStatus
    attempt: int
    created_at: Instant
    next_at: Instant
    delivered_at: Instant | None
    http_status: int | None
    reason: str | None


class JobShown(Shown):
    id: str
    status: Status
    priority: Priority
    style: Style
    question: str | None = Field(description="None for a key without `read`.")
    options: list[str]
    correlation_id: str | None
    labels: dict[str, str]
    submitter: str
    rerun_of: str | None
    attempt: int
    cancel_requested: bool
    created_at: Instant
    due_at: Instant | None
    finished_at: Instant | None
    error: JobError | None
    origin: OriginShown | None
    reading: ReadingShown | None
    reviews: int
    deliveries: list[DeliveryShown]


class JobListed(Shown):
    id: str
    status: Status
    priority: Priority
    attempt: int
    cancel_requested: bool
    created_at: Instant
    due_at: Instant | None
    finished_at: Instant | None
    age_seconds: float = Field(description="Since it came; of a job that has ended, until its end.")
    submitter: str
    correlation_id: str | None
    rerun_of: str | None
    error_code: str | None
    question: str = Field(description="Its first 200 characters.")
    outcome: ReadingOutcome | None
    choice: str | None
    answer: str | None = Field(description="Its first 200 characters.")
    reviews: int
    origin: OriginShown | None


class JobPage(Shown):
    items: list[JobListed]
    next: str | None = Field(description="The cursor of the next page; None after the last.")


class BatchItem(Shown):
    status: int = Field(description="202 stored; 200 known under this key; otherwise see `problem`.")
    id: str | None
    problem: Problem | None


class BatchShown(Shown):
    items: list[BatchItem] = Field(description="In the order of `jobs`.")


class UploadShown(Shown):
    reference: str = Field(examples=["upload:sha256-" + "0" * 64])


class EndpointShown(Shown):
    id: str
    name: str
    url: str
    status: EndpointStatus
    payload: Payload
    events: list[EventType]
    secrets: int = Field(description="How many secrets sign; two while a rotation lasts.")


class EndpointWithSecret(EndpointShown):
    secret: str = Field(description="Shown once.")


class EndpointList(Shown):
    items: list[EndpointShown]


class TestSent(Shown):
    delivery_id: str


class DeliveryPage(Shown):
    items: list[DeliveryShown]
    next: str | None


class AttemptShown(Shown):
    attempt: int
    at: Instant
    status: DeliveryStatus
    http_status: int | None
    reason: str | None
    answer: str | None = Field(
        description="The first 1,024 bytes of what the receiver answered; None where nothing was kept."
    )


class AttemptList(Shown):
    items: list[AttemptShown]


class Replayed(Shown):
    count: int = Field(description="Deliveries that are due again.")
    more: bool = Field(description="Whether others in the range were left out: ask again.")


class ReviewShown(Shown):
    id: str
    job_id: str
    created_at: Instant
    reviewer: str
    verdict: Verdict
    comment: str
    corrected_answer: str | None


class ReviewPage(Shown):
    items: list[ReviewShown]
    next: str | None


class WaitingShown(Shown):
    queued: int
    oldest_seconds: float | None = Field(description="How long the oldest has waited; None where none waits.")
    running: int


class QueueShown(Shown):
    stat: WaitingShown
    urgent: WaitingShown
    routine: WaitingShown


class WorkerShown(Shown):
    id: str
    host: str
    pid: int
    device: str
    model: str
    slots: int
    running: int
    started_at: Instant | None
    seen_at: Instant | None


class DeliveryCounts(Shown):
    due: int
    failing: int = Field(description="Tried at least once, and due again.")
    exhausted: int


class StatusShown(Shown):
    at: Instant
    version: str
    queue: QueueShown
    workers: list[WorkerShown]
    deliveries: DeliveryCounts


class SampleShown(Shown):
    at: Instant
    queue: QueueShown


class HistoryShown(Shown):
    every_seconds: float
    items: list[SampleShown] = Field(
        description="The oldest first; an hour at most, since this gateway began."
    )


class SessionShown(Shown):
    name: str = Field(description="Of the API key.")
    scopes: list[Scope]
    expires_at: Instant


class WaysShown(Shown):
    provider: str | None = Field(
        description="Host of the OpenID provider; a browser goes to `/v1/session/provider`."
    )


class Alive(Shown):
    status: Literal["ok"]


class Ready(Shown):
    status: Literal["ready", "not ready"]
    reasons: dict[str, str]
    workers: int | None
