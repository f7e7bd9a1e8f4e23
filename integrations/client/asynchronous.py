"""The client for programs with an event loop. What it does is decided in `calls`; here steps are taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import anyio
import httpx

from integrations.client.calls import Asked, Calls, Filters, Images, Verdict
from integrations.client.site import Site, answer_of
from integrations.client.steps import PIECE, Answer, Heard, Listen, Lost, Pause, Send, Steps
from integrations.client.values import Job, Listed, Review

T = TypeVar("T")


class AsyncPathlane:
    """As Pathlane, to be awaited; for asyncio and trio. Tasks may share it."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        tries: int = 5,
        patience: float = 60.0,
        seconds: float = 30.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._site = Site.of(url, key)
        self._calls = Calls(tries=tries, patience=patience)
        self._own = None if http else httpx.AsyncClient(timeout=seconds)
        self._http = http or self._own or httpx.AsyncClient()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._own:
            await self._own.aclose()

    async def upload(self, image: Path | bytes) -> str:
        return await self._take(self._calls.upload(image))

    async def submit(self, images: Images, question: str, **asked: Unpack[Asked]) -> Job:
        return await self._take(self._calls.submit(images, question, asked))

    async def wait(self, job: Job | Listed | str, timeout: float = 600.0) -> Job:  # noqa: ASYNC109
        return await self._take(self._calls.wait(job, timeout))

    async def get(self, job: Job | Listed | str) -> Job:
        return await self._take(self._calls.get(job))

    async def list(self, **filters: Unpack[Filters]) -> AsyncIterator[Listed]:
        cursor = None
        while True:
            items, cursor = await self._take(self._calls.page(filters, cursor))
            for item in items:
                yield item
            if cursor is None:
                return

    async def cancel(self, job: Job | Listed | str) -> Job:
        return await self._take(self._calls.cancel(job))

    async def rerun(self, job: Job | Listed | str, *, idempotency_key: str | None = None) -> Job:
        return await self._take(self._calls.rerun(job, idempotency_key))

    async def review(
        self,
        job: Job | Listed | str,
        verdict: Verdict,
        *,
        comment: str = "",
        corrected_answer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Review:
        return await self._take(self._calls.review(job, verdict, comment, corrected_answer, idempotency_key))

    async def _take(self, steps: Steps[T]) -> T:
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
                        came = await self._send(step)
                    case Listen():
                        came = await self._listen(step)
                    case Pause():
                        came = None
                        await anyio.sleep(step.seconds)

    async def _send(self, step: Send) -> Answer | Lost:
        body = _pieces(step.body) if isinstance(step.body, Path) else step.body
        url, headers = self._site.url(step.path), self._site.headers(step.headers)
        try:
            response = await self._http.request(step.method, url, content=body, headers=headers)
        except httpx.RequestError as error:
            return Lost(reason=type(error).__name__)
        return answer_of(response)

    async def _listen(self, step: Listen) -> Heard:
        url, headers = self._site.url(step.path), self._site.headers({"accept": "text/event-stream"})
        try:
            async with self._http.stream("GET", url, headers=headers, timeout=step.silence) as response:
                if response.status_code // 100 != 2:
                    return Heard.NOTHING
                async for line in response.aiter_lines():
                    if (heard := step.ear.hear(line)) is not None:
                        return heard
        except httpx.RequestError:
            return Heard.NOTHING
        return Heard.CLOSED


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while piece := await file.read(PIECE):
            yield piece
