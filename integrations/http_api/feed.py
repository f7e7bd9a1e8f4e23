"""The feed: one look at the store a second, whoever and however many listen.

In: changes from the store. Out: the same to every listener, in order, each at its own pace up to a limit. It
knows no HTTP. While nobody listens it does not look.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar

from worker import log
from worker.errors import StoreUnavailable, TooManyListeners
from worker.store.changes import Change

T = TypeVar("T")

#: how far back each look goes for rows whose transaction ended late, and now and then
OVERLAP_SECONDS: Final = 5.0
STRAGGLER_SECONDS: Final = 60.0
#: every so many looks goes back that far
WIDE_EVERY: Final = 30
#: changes of one look; of a catch-up; and how many are remembered for those who come back
MOST: Final = 5000
REMEMBERED: Final = 5000
#: changes that wait for one listener; one that is slower is let go, and may come back
WAITING: Final = 1000

logger = log.get(__name__)


class Source(Protocol):
    """What `worker.store.changes.Changes` does. Each may raise StoreUnavailable."""

    def now(self) -> datetime: ...
    def since(self, at: datetime, *, limit: int, job_id: str = "") -> list[Change]: ...
    def after(
        self, change_id: str, *, limit: int, job_id: str = "", overlap_seconds: float
    ) -> list[Change] | None: ...


class Listener:
    """One open stream's place in the feed."""

    def __init__(self, job_id: str, most: int) -> None:
        self._job_id = job_id
        self._most = most
        self._waiting: deque[Change] = deque()
        self._woken = asyncio.Event()
        self._is_over = False

    def offer(self, change: Change) -> None:
        if self._is_over or (self._job_id and change.job_id != self._job_id):
            return
        if len(self._waiting) >= self._most:
            self.end()
            return
        self._waiting.append(change)
        self._woken.set()

    def end(self) -> None:
        """What waits is still given; then no more."""
        self._is_over = True
        self._woken.set()

    async def next(self) -> Change | None:
        """None: it is over. The asker may come back and say what it heard last."""
        while not self._waiting:
            if self._is_over:
                return None
            self._woken.clear()
            await self._woken.wait()
        return self._waiting.popleft()


class Feed:
    """One for each process. All its methods belong to the event loop."""

    def __init__(
        self, source: Source, *, seconds: float = 1.0, listeners: int = 1000, waiting: int = WAITING
    ) -> None:
        self._source = source
        self._seconds = seconds
        self._most_listeners = listeners
        self._waiting = waiting
        self._listeners: set[Listener] = set()
        #: changes that were told, in that order
        self._told: dict[str, Change] = {}
        #: the latest moment of a change that was told
        self._seen_at = datetime.min.replace(tzinfo=UTC)
        self._task: asyncio.Task[None] | None = None
        #: done once the first look has been made
        self._begun: asyncio.Future[None] | None = None
        self._is_closed = False
        # A thread of its own: listeners must not wait for those of the routes.
        self._threads: Executor = ThreadPoolExecutor(1, thread_name_prefix="feed")

    async def listen(self, job_id: str = "") -> Listener:
        """From now on; to one job, if it is named. Raises TooManyListeners, StoreUnavailable."""
        if self._is_closed or len(self._listeners) >= self._most_listeners:
            raise TooManyListeners
        listener = Listener(job_id, self._waiting)
        self._listeners.add(listener)
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.get_loop() is not loop:
            self._begun = loop.create_future()
            self._task = loop.create_task(self._run(self._begun))
        assert self._begun is not None
        try:
            await asyncio.shield(self._begun)
        except BaseException:
            self.leave(listener)
            raise
        return listener

    def leave(self, listener: Listener) -> None:
        listener.end()
        self._listeners.discard(listener)

    async def missed(self, last_id: str, job_id: str = "") -> Sequence[Change] | None:
        """What came after that change, for one who comes back; some of it may be known there already.

        None: it cannot be said any more; the asker must look at everything anew.
        """
        if last_id in self._told:
            ids = list(self._told)
            later = (self._told[one] for one in ids[ids.index(last_id) + 1 :])
            return [change for change in later if not job_id or change.job_id == job_id]
        look = partial(
            self._source.after, last_id, limit=MOST, job_id=job_id, overlap_seconds=OVERLAP_SECONDS
        )
        return await self._ask(look)

    def open(self) -> None:
        """Take listeners, as it does from the beginning: after `close`."""
        self._is_closed = False

    def close(self) -> None:
        """End every stream: the process is about to."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()

    async def _run(self, begun: asyncio.Future[None]) -> None:
        try:
            await self._begin(begun)
            looks = 0
            while self._listeners:
                await asyncio.sleep(self._seconds)
                looks += 1
                await self._try_to_look(STRAGGLER_SECONDS if looks % WIDE_EVERY == 0 else OVERLAP_SECONDS)
        finally:
            self._task = None

    async def _begin(self, begun: asyncio.Future[None]) -> None:
        """What is there already is no news."""
        try:
            self._told.clear()  # what came while nobody looked would be missing from it
            self._seen_at = await self._ask(self._source.now)
            for change in await self._changes(STRAGGLER_SECONDS):
                self._remember(change)
        except Exception as error:
            if not begun.cancelled():
                begun.set_exception(error)
            raise
        begun.set_result(None)

    async def _try_to_look(self, back: float) -> None:
        try:
            for change in await self._changes(back):
                self._remember(change)
                for listener in tuple(self._listeners):
                    listener.offer(change)
        except StoreUnavailable:
            logger.warning("store.unavailable")
        except Exception as error:  # noqa: BLE001  # the feed must outlive any one look
            logger.error("round.error", **log.kind_and_place(error))

    async def _changes(self, back: float) -> list[Change]:
        """Those that are new, from `back` seconds before the latest on."""
        since, new = self._seen_at - timedelta(seconds=back), dict[str, Change]()
        while True:
            found = await self._ask(partial(self._source.since, since, limit=MOST))
            new |= {change.id: change for change in found if change.id not in self._told}
            if len(found) < MOST or found[-1].at <= since:
                return list(new.values())
            since = found[-1].at

    def _remember(self, change: Change) -> None:
        self._told[change.id] = change
        self._seen_at = max(self._seen_at, change.at)
        # A look goes back so far, and must know again what it finds there.
        old = self._seen_at - timedelta(seconds=2 * STRAGGLER_SECONDS)
        while len(self._told) > REMEMBERED and (first := next(iter(self._told.values()))).at < old:
            del self._told[first.id]

    async def _ask(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, question)
