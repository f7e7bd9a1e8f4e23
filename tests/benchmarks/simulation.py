"""A simulated laboratory: GPUs that keep a simulated clock, over the real store and the real scheduler.

In: when which case comes, how fast a GPU is, when which GPU fails. Out: a store in which the day has happened,
and when each case was first read. Simulated are the model, the time and the network; claims, leases, sweeps,
priorities, pauses and the end of every job are the product's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import event

from tests.builders import a_reading
from worker.engine.reasoner import Ask, Prepared
from worker.engine.scheduler import Scheduler
from worker.errors import LeaseLost
from worker.jobs.job import Job
from worker.jobs.request import JobRequest, Priority
from worker.store.jobs import Jobs
from worker.store.session import Database

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_SECONDS = 120.0
SWEEP_SECONDS = 30.0
PATIENCE_SECONDS = 1800.0


class Clock:
    """The time of the day in seconds, and what is to happen when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (max(moment, self.now), next(self._order), happen))

    def run(self, *, until: Callable[[], bool]) -> None:
        """One thing after another, until that is so."""
        while self._agenda and not until():
            self.now, _, happen = heapq.heappop(self._agenda)
            happen()

    def sql(self) -> str:
        """As SQLite's date functions read it."""
        return (MIDNIGHT + timedelta(seconds=self.now)).strftime("%Y-%m-%d %H:%M:%S.%f")


class SimulatedDatabase(Database):
    """A SQLite store whose own clock is the simulation's: in every statement, `'now'` is asked of it.

    It does not wait for a disk: nobody cuts the power of a simulation.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url)
        assert self.is_sqlite

        def prepare(connection: Any, _: object) -> None:
            connection.create_function("simulated_now", 0, clock.sql)
            connection.execute("PRAGMA synchronous=OFF")

        def ask_the_simulation(*about: Any) -> tuple[str, Any]:
            statement, parameters = about[2], about[3]
            return statement.replace("'now'", "simulated_now()"), parameters

        event.listen(self.engine, "connect", prepare)
        event.listen(self.engine, "before_cursor_execute", ask_the_simulation, retval=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a GPU is, in seconds."""

    #: one step with one row, and what every further row adds
    step: float
    row: float
    #: an image and its question, while every other row waits
    prefill: float

    def of_step(self, rows: int) -> float:
        return self.step + self.row * (rows - 1)


@dataclass(slots=True)
class Case:
    """A job that a GPU holds."""

    job: Job
    ask: Ask
    #: tokens that are still to be written
    left: float


class Gpu:
    """A worker and its GPU: claims as `worker.service` does, schedules by the engine's scheduler.

    Between two events the same rows run, and each gains a token a step: nothing has to be done for each step.
    """

    def __init__(self, name: str, lab: Laboratory, speed: Speed, slots: int) -> None:
        self.name, self.lab, self.speed, self.slots = name, lab, speed, slots
        self.is_up = True
        self.busy = 0.0
        self._start()

    def _start(self) -> None:
        self.scheduler = Scheduler(self.slots, can_pause=True)
        self.cases: dict[Ask, Case] = {}
        self._since = self._busy_until = self.lab.clock.now
        self._plan = 0

    def take(self) -> None:
        """Claim while there is room: STAT alone once every slot is taken, and nothing beside a suspect."""
        while self.is_up and len(self.cases) < 2 * self.slots and not self._is_alone():
            least = Priority.ROUTINE if len(self.cases) < self.slots else Priority.STAT
            job = self.lab.jobs.claim(worker_id=self.name, lease_seconds=LEASE_SECONDS, at_least=least)
            if job is None:
                break
            self._add(job)
        self.proceed()

    def _is_alone(self) -> bool:
        return any(case.job.alone for case in self.cases.values())

    def _add(self, job: Job) -> None:
        beside = 0 if job.alone else None
        ask = Ask(prepared=Prepared(), priority=job.priority, most_beside=beside)
        self.cases[ask] = Case(job, ask, self.lab.tokens[job.id])
        self.scheduler.add(ask)

    def proceed(self) -> None:
        """Everybody's tokens up to now; who has ended leaves, who may enter does, and when to look again."""
        self._write_tokens()
        for ask in [ask for ask in self.scheduler.running if self.cases[ask].left < 1e-6]:
            self._end(ask)
        for ask in self.scheduler.schedule().enter:
            self._enter(ask)
        running = self.scheduler.running
        if running and self.is_up:
            steps = min(self.cases[ask].left for ask in running)
            self._plan += 1
            ends = self._since + steps * self.speed.of_step(len(running))
            self.lab.clock.at(ends, lambda plan=self._plan: self._look(plan))

    def _look(self, plan: int) -> None:
        if plan == self._plan and self.is_up:  # else something has happened meanwhile
            self.proceed()
            self.take()

    def _write_tokens(self) -> None:
        rows = len(self.scheduler.running)
        passed = self.lab.clock.now - self._since
        if passed <= 0:
            return  # still reading images
        for ask in self.scheduler.running:
            self.cases[ask].left -= passed / self.speed.of_step(rows)
        self.busy += passed if rows else 0
        self._since = self.lab.clock.now

    def _enter(self, ask: Ask) -> None:
        if not ask.begun:
            ask.begun = True
            self._since = max(self._since, self.lab.clock.now) + self.speed.prefill
            self.busy += self.speed.prefill
            self.lab.begun.setdefault(self.cases[ask].job.id, self.lab.clock.now)

    def _end(self, ask: Ask) -> None:
        self.scheduler.end(ask)
        try:
            self.lab.jobs.finish(self.cases.pop(ask).job, a_reading())
        except LeaseLost:
            self.lab.late += 1

    def renew(self) -> None:
        held = [(case.job.id, case.job.attempt) for case in self.cases.values()]
        if self.is_up and held:
            self.lab.jobs.renew(held, lease_seconds=LEASE_SECONDS)

    def fail(self, seconds: float) -> None:
        """It is gone with all that it holds, and comes back empty. The leases run out."""
        self._write_tokens()
        self.is_up, self.cases = False, {}
        self._plan += 1
        self.lab.clock.at(self.lab.clock.now + seconds, self._come_back)

    def _come_back(self) -> None:
        self.is_up = True
        self._start()
        self.take()


@dataclass(slots=True)
class Laboratory:
    """The store, and everybody who works with it."""

    database: Database
    clock: Clock
    jobs: Jobs = field(init=False)
    gpus: list[Gpu] = field(default_factory=list)
    #: job id -> tokens of its answer, when it came, when it was first read
    tokens: dict[str, float] = field(default_factory=dict)
    came: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    returned: int = 0
    poisoned: int = 0
    #: answers that came after their lease was lost
    late: int = 0
    deepest: int = 0

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.database)

    def accept(self, request: JobRequest, tokens: float) -> None:
        job = self.jobs.submit(request, submitter="hospital").job
        self.tokens[job.id], self.came[job.id] = tokens, self.clock.now
        self.ring(1)

    def ring(self, times: int) -> None:
        """The emptiest GPU hears it first; one that is full looks for STAT only."""
        for gpu in sorted((gpu for gpu in self.gpus if gpu.is_up), key=lambda gpu: len(gpu.cases))[:times]:
            gpu.take()

    def look_after(self) -> None:
        """What every worker does from time to time, whether or not anything happens."""
        for gpu in self.gpus:
            gpu.renew()
        found = self.jobs.sweep(patience_seconds=PATIENCE_SECONDS)
        self.returned, self.poisoned = self.returned + found.returned, self.poisoned + found.poisoned
        self.deepest = max(self.deepest, found.waiting)
        if found.waiting:
            self.ring(len(self.gpus))
        self.clock.at(self.clock.now + SWEEP_SECONDS, self.look_after)
