"""The client for programs with threads. What it does is decided in `calls`; here steps are taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import httpx

from integrations.client.calls import Asked, Calls, Filters, Images, Verdict
from integrations.client.site import Site, answer_of
from integrations.client.steps import Answer, Heard, Listen, Lost, Pause, Send, Steps
from integrations.client.values import Job, Listed, Review

T = TypeVar("T")


class Pathlane:
    """One gateway, asked with one key. Threads may share it. Every method raises Refused and Unavailable."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tries: int = 5,
        patience: float = 60.0,
        seconds: float = 30.0,
        http: httpx.Client | None = None,
    ) -> None:
        """`seconds`: for one read or write. `http`: the caller's own (TLS, proxies), who closes it."""
        self._site = Site.of(url, key)
        self._calls = Calls(tries=tries, patience=patience)
        self._own = None if http else httpx.Client(timeout=seconds)
        self._http = http or self._own or httpx.Client()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._own:
            self._own.close()

    def upload(self, image: Path | bytes) -> str:
        """The reference that stands for it in `images`. A file is sent as it is read."""
        return self._take(self._calls.upload(image))

    def submit(self, images: Images, question: str, **asked: Unpack[Asked]) -> Job:
        """Ask. Paths and bytes among `images` are uploaded first."""
        return self._take(self._calls.submit(images, question, asked))

    def wait(self, job: Job | Listed | str, timeout: float = 600.0) -> Job:
        """The job once it has ended, well or not: see its `reading` and `error`. Raises WaitTimeout."""
        return self._take(self._calls.wait(job, timeout))

    def get(self, job: Job | Listed | str) -> Job:
        return self._take(self._calls.get(job))

    def list(self, **filters: Unpack[Filters]) -> Iterator[Listed]:
        """Every job that fits, page by page as they are taken."""
        cursor = None
        while True:
            items, cursor = self._take(self._calls.page(filters, cursor))
            yield from items
            if cursor is None:
                return

    def cancel(self, job: Job | Listed | str) -> Job:
        return self._take(self._calls.cancel(job))

    def rerun(self, job: Job | Listed | str, *, idempotency_key: str | None = None) -> Job:
        """A new job with the same request."""
        return self._take(self._calls.rerun(job, idempotency_key))

    def review(
        self,
        job: Job | Listed | str,
        verdict: Verdict,
        *,
        comment: str = "",
        corrected_answer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Review:
        """Say whether a reading is right."""
        return self._take(self._calls.review(job, verdict, comment, corrected_answer, idempotency_key))

    def _take(self, steps: Steps[T]) -> T:
        came: Any = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(came)
                except StopIteration as end:
                    value: T = end.value
                    return value
                match step:
                    case Send():
                        came = self._send(step)
                    case Listen():
                        came = self._listen(step)
                    case Pause():
                        came = None
                        time.sleep(step.seconds)

    def _send(self, step: Send) -> Answer | Lost:
        opened = step.body.open("rb") if isinstance(step.body, Path) else nullcontext(step.body)
        url, headers = self._site.url(step.path), self._site.headers(step.headers)
        with opened as body:
            try:
                response = self._http.request(step.method, url, content=body, headers=headers)
            except httpx.RequestError as error:
                return Lost(reason=type(error).__name__)
        return answer_of(response)

    def _listen(self, step: Listen) -> Heard:
        url, headers = self._site.url(step.path), self._site.headers({"accept": "text/event-stream"})
        try:
            with self._http.stream("GET", url, headers=headers, timeout=step.silence) as response:
                if response.status_code // 100 != 2:
                    return Heard.NOTHING
                for line in response.iter_lines():
                    if (heard := step.ear.hear(line)) is not None:
                        return heard
        except httpx.RequestError:
            return Heard.NOTHING
        return Heard.CLOSED
