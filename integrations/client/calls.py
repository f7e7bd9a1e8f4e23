"""Calls: all that the client decides, for both kinds of programs: what to send, try again, wait for.

In: a caller's arguments. Out: generators of steps that end in a value or an error. Time and randomness are
arguments. Every request may be sent twice: uploads are named by their content, and whatever makes something
new carries an idempotency key.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import random
from typing import Any, Final, Literal, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote

from integrations.client.answers import document_of, error_of, unreadable
from integrations.client.errors import Unavailable, WaitTimeout
from integrations.client.steps import Answer, Ear, Heard, Listen, Pause, Send, Steps
from integrations.client.values import Job, Listed, Reading, Review

#: a file or its bytes, which are uploaded; a reference; or `{reference, region, frame}`
Image: TypeAlias = Path | bytes | str | Mapping[str, Any]
Images: TypeAlias = Image | Sequence[Image]
Priority: TypeAlias = Literal["stat", "urgent", "routine"]
Verdict: TypeAlias = Literal["agree", "disagree", "correct"]
Document = TypeVar("Document", Job, Listed, Reading, Review)

#: seconds; a stream says something every 15
SILENCE: Final = 20.0
#: seconds between two looks: the first, and the longest
LOOK: Final = 0.25
LONGEST_LOOK: Final = 2.0
#: seconds before the second try; then twice as long each time
FIRST_PAUSE: Final = 0.5
JSON: Final = {"content-type": "application/json"}


class Asked(TypedDict, total=False):
    """What may be said with a question: docs/reference/request.md."""

    options: Sequence[str]
    style: Literal["cot", "cod"]
    priority: Priority
    due_at: datetime
    timeout: float
    #: of the caller's own, where the program may die and ask again; otherwise one is made for each call
    idempotency_key: str
    correlation_id: str
    labels: Mapping[str, str]
    endpoints: Sequence[str]


class Filters(TypedDict, total=False):
    """Which jobs, in which order: docs/reference/api.md."""

    status: Sequence[str]
    priority: Sequence[Priority]
    created_after: datetime
    created_before: datetime
    submitter: str
    correlation_id: str
    domain: str
    accession: str
    slide: str
    labels: Mapping[str, str]
    order: Literal["newest", "worklist"]
    answers: bool
    #: of one page, up to 1,000
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    #: how often one request is sent at most
    tries: int = 5
    #: seconds it will pause for at most; a gateway that asks for more is Unavailable at once
    patience: float = 60.0
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    chance: Callable[[], float] = random
    new_key: Callable[[], str] = lambda: uuid.uuid4().hex

    def upload(self, image: Path | bytes) -> Steps[str]:
        kind = {"content-type": "application/octet-stream"}
        answer = yield from self._asked(Send(method="POST", path="/v1/uploads", body=image, headers=kind))
        reference = document_of(answer).get("reference")
        if not isinstance(reference, str):
            raise unreadable(answer.status)
        return reference

    def submit(self, images: Images, question: str, asked: Asked) -> Steps[Job]:
        if isinstance(images, Path | bytes | str | Mapping):
            images = [images]
        named = yield from self._named(images)
        key = asked.get("idempotency_key") or self.new_key()
        body = {"images": named, "question": question, **asked, "idempotency_key": key}
        return (yield from self._read(Job, self._post("/v1/jobs", body)))

    def get(self, job: Job | Listed | str) -> Steps[Job]:
        return (yield from self._read(Job, Send(method="GET", path=_path(job))))

    def wait(self, job: Job | Listed | str, timeout: float) -> Steps[Job]:
        """By listening while there is time for it; by looking where that cannot be had, and at the end."""
        end, pause, heard = self.clock() + timeout, LOOK, Heard.CLOSED
        while True:
            found = yield from self.get(job)
            if found.has_ended:
                return found
            left = end - self.clock()
            if left <= 0:
                raise WaitTimeout(found.id, found.status)
            # A read cannot be cut short once it has begun: the last seconds are for looking.
            if heard is not Heard.NOTHING and left > SILENCE:
                ear = Ear(until=end - SILENCE, clock=self.clock)
                heard = yield Listen(path=f"{_path(job)}/events", ear=ear, silence=SILENCE)
            if heard is not Heard.ENOUGH or left <= SILENCE:
                yield Pause(seconds=max(0.0, min(pause, end - self.clock())))
                pause = min(1.5 * pause, LONGEST_LOOK)

    def page(self, filters: Filters, cursor: str | None) -> Steps[tuple[list[Listed], str | None]]:
        """One page, and the cursor of the next. Filters may be text of a case, so they stand in no URL."""
        answer = yield from self._asked(self._post("/v1/jobs/search", {**filters, "cursor": cursor}))
        document = document_of(answer)
        items = [_value(Listed, item, answer) for item in document.get("items", ())]
        return items, document.get("next")

    def cancel(self, job: Job | Listed | str) -> Steps[Job]:
        return (yield from self._read(Job, Send(method="POST", path=f"{_path(job)}/cancel")))

    def rerun(self, job: Job | Listed | str, key: str | None) -> Steps[Job]:
        headers = {"idempotency-key": key or self.new_key()}
        return (yield from self._read(Job, Send(method="POST", path=f"{_path(job)}/rerun", headers=headers)))

    def review(
        self, job: Job | Listed | str, verdict: Verdict, comment: str, corrected: str | None, key: str | None
    ) -> Steps[Review]:
        body = {"verdict": verdict, "comment": comment, "corrected_answer": corrected}
        send = self._post(f"{_path(job)}/reviews", body, {"idempotency-key": key or self.new_key()})
        return (yield from self._read(Review, send))

    def _named(self, images: Sequence[Image]) -> Steps[list[Mapping[str, Any]]]:
        named: list[Mapping[str, Any]] = []
        for image in images:
            known = (yield from self.upload(image)) if isinstance(image, Path | bytes) else image
            named.append({"reference": known} if isinstance(known, str) else known)
        return named

    def _read(self, kind: type[Document], send: Send) -> Steps[Document]:
        answer = yield from self._asked(send)
        return _value(kind, document_of(answer), answer)

    def _asked(self, send: Send) -> Steps[Answer]:
        """An answer that is a success. Raises Refused, or Unavailable after the last try."""
        pause = FIRST_PAUSE
        for tries_left in reversed(range(self.tries)):
            came = yield send
            error = error_of(came, now=self.now())
            if error is None:
                break
            seconds = max(pause * (0.5 + self.chance()), error.retry_after or 0.0)
            if not isinstance(error, Unavailable) or not tries_left or seconds > self.patience:
                raise error
            yield Pause(seconds=seconds)
            pause *= 2
        assert isinstance(came, Answer)
        return came

    def _post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] = {}) -> Send:
        said = {name: value for name, value in body.items() if value is not None}
        encoded = json.dumps(said, default=_plain).encode()
        return Send(method="POST", path=path, body=encoded, headers={**JSON, **headers})


def _path(job: Job | Listed | str) -> str:
    return f"/v1/jobs/{quote(job if isinstance(job, str) else job.id, safe='')}"


def _value(kind: type[Document], document: Mapping[str, Any], answer: Answer) -> Document:
    try:
        return kind.read(document)
    except (TypeError, ValueError, AttributeError):
        raise unreadable(answer.status) from None


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be sent")
