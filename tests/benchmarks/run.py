"""Run: every engine of a plan over every workload, one after the other on one machine.

In: a plan. Out: a `Measured` each, as it comes. It knows how an engine is started and timed, and no table.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tests import transformers_serve
from tests.benchmarks.figures import QUICKSTART, Measured, best
from tests.benchmarks.flight import Counted, Flight
from tests.benchmarks.loops import Loops, Texts, batches
from tests.benchmarks.paced import paced
from tests.benchmarks.served import SERVED, forced_at
from tests.benchmarks.whole import Cost, Whole
from tests.benchmarks.workload import LONG, Case, cases, tokens_of
from worker.engine.models.checkpoint import find
from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.models.loading import Source
from worker.engine.reasoner import Reasoner

WARM_UP = 2
MAX_PIXELS = 1_003_520

Progress = Callable[[str, int, int], None]
OnCase = Callable[[int], object]
#: gives what was written, what it cost, and wall seconds
Read = Callable[[OnCase], tuple[Texts, Cost, float]]
Work = dict[str, list[Case]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    engines: Sequence[str]
    workloads: Sequence[str]
    slots: Sequence[int]
    static: Sequence[int]
    databases: Sequence[str]
    cases: int
    #: STAT cases under a full backlog
    stat: int
    #: `inside` or `outside` of the timing
    inputs: str
    #: whether an installation has all cases before the timing begins
    backlog: bool
    repeat: int
    threads: int
    #: and the licence that was accepted for it
    model: tuple[str, str]
    device: str
    #: milliseconds of a step and of a prompt, of a device that costs no core; none: the device itself
    pace: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One engine, ready for one workload."""

    workload: str
    engine: str
    slots: int
    asked: Sequence[Case]
    read: Read
    #: the engine that this is the whole pipeline of
    of: str = ""
    #: gives seconds of STAT cases under a full backlog
    stat: Callable[[], Sequence[float]] = tuple


def measured(plan: Plan, progress: Progress) -> Iterator[Measured]:
    work = {shape: cases(shape, plan.cases) for shape in plan.workloads}
    for case in (case for asked in work.values() for case in asked):
        case.picture  # noqa: B018  drawn here, outside of any timing
    expected: dict[str, list[str]] = {}
    for engine, entries in ENTRIES.items():
        if engine not in plan.engines or (engine == "whole" and plan.inputs == "outside"):
            continue
        for entry in entries(plan, work):
            run, texts = _quickest(entry, plan.repeat, progress)
            if engine == "quickstart":
                expected[entry.workload] = texts
            progress(f"{entry.workload}, {entry.engine}, STAT", 0, plan.stat)
            yield replace(
                run,
                stat_latencies=tuple(entry.stat()),
                same=_same(texts, expected.get(entry.workload)),
            )


def _quickstart(plan: Plan, work: Work) -> Iterator[Entry]:
    loops = Loops(find(*plan.model, download=True).folder, plan.device)
    for shape, asked in work.items():
        ready = [loops.inputs([case]) for case in asked] if plan.inputs == "outside" else None
        loops.quickstart(asked[:WARM_UP], ready, lambda _: None)
        read = _timed(partial(loops.quickstart, asked, ready))
        yield Entry(workload=shape, engine=QUICKSTART, slots=1, asked=asked, read=read)


def _static(plan: Plan, work: Work) -> Iterator[Entry]:
    loops = Loops(find(*plan.model, download=True).folder, plan.device)
    for shape, asked in work.items():
        loops.static(asked[:WARM_UP], WARM_UP, None, lambda _: None)
        for size in plan.static:
            is_outside = plan.inputs == "outside"
            ready = [loops.inputs(batch) for batch in batches(asked, size)] if is_outside else None
            read = _timed(partial(loops.static, asked, size, ready))
            name = f"static batches of {size}"
            yield Entry(workload=shape, engine=name, slots=size, asked=asked, read=read)


def _in_flight(plan: Plan, work: Work) -> Iterator[Entry]:
    model, license_accepted = plan.model
    source = Source(model=model, license_accepted=license_accepted, max_pixels=MAX_PIXELS)

    def make(slots: int) -> Reasoner:
        return paced(InFlightReasoner(source, rows=slots, max_new_tokens=LONG[1]), plan.pace)

    yield from _alone(plan, work, "in-flight", make)


def _alone(plan: Plan, work: Work, name: str, make: Callable[[int], Reasoner]) -> Iterator[Entry]:
    """Any reasoner in an engine loop of its own; a served model is one too."""
    for slots in plan.slots:
        with Flight(Counted(make(slots)), slots, plan.device).open() as flight:
            for shape, asked in work.items():
                if plan.inputs == "outside":
                    flight.prepare(asked)
                flight.read(asked[:WARM_UP], lambda _: None)
                yield Entry(
                    workload=shape, engine=f"{name} {slots}", slots=slots, asked=asked,
                    read=_timed(partial(flight.read, asked)), stat=partial(flight.stat, asked, plan.stat),
                )  # fmt: skip


def _whole(plan: Plan, work: Work) -> Iterator[Entry]:
    warm_up = [Case(name=f"warm-up {number}", number=number, tokens=32) for number in range(16)]
    known = [case for asked in (warm_up, *work.values()) for case in asked]
    for kind, slots in itertools.product(plan.databases, plan.slots):
        with Whole(kind, slots, plan.device, plan.model, plan.pace).open(known) as whole:
            whole.read(warm_up, lambda _: None, backlog=False)
            for shape, asked in work.items():
                yield Entry(
                    workload=shape, engine=f"whole {slots}, {kind}", slots=slots, asked=asked,
                    read=partial(whole.read, asked, backlog=plan.backlog), of=f"in-flight {slots}",
                )  # fmt: skip


def _served(plan: Plan, work: Work) -> Iterator[Entry]:
    """`transformers serve`, which reads one request at a time: what others wait for, and the protocol's own cost."""
    folder = find(*plan.model, download=True).folder
    one = replace(plan, slots=plan.slots[:1], stat=0)
    with transformers_serve.serving({SERVED: folder}, threads=plan.threads) as url:
        for entry in _alone(one, work, "served, transformers serve,", lambda slots: forced_at(url, slots)):
            yield replace(entry, read=partial(_without_steps, entry.read))


def _without_steps(read: Read, on_case: OnCase) -> tuple[Texts, Cost, float]:
    """The model's are the server's own; ours are looks at what has come."""
    written, cost, seconds = read(on_case)
    return replace(written, steps=0), cost, seconds


#: in the order in which they run
ENTRIES: dict[str, Callable[[Plan, Work], Iterator[Entry]]] = {
    "quickstart": _quickstart, "static": _static, "in-flight": _in_flight, "whole": _whole, "served": _served,
}  # fmt: skip


def _quickest(entry: Entry, times: int, progress: Progress) -> tuple[Measured, list[str]]:
    texts = list[str]()
    runs = list[Measured]()
    for _ in range(times):
        done = itertools.count(1)
        written, cost, seconds = entry.read(partial(_count, entry, done, progress))
        texts = written.texts
        runs.append(Measured(
            workload=entry.workload, engine=entry.engine, slots=entry.slots, cases=len(entry.asked),
            tokens=tokens_of(entry.asked), seconds=seconds, latencies=tuple(written.latencies),
            steps=written.steps, cpu_seconds=cost.worker, others_cpu_seconds=cost.others, stages=cost.stages, of=entry.of,
        ))  # fmt: skip
    return best(runs), texts


def _count(entry: Entry, done: Iterator[int], progress: Progress, cases_more: int) -> None:
    for _ in range(cases_more):
        progress(f"{entry.workload}, {entry.engine}", next(done), len(entry.asked))


def _timed(read: Callable[[OnCase], Texts]) -> Read:
    """In this process, which has the model."""

    def run(on_case: OnCase) -> tuple[Texts, Cost, float]:
        began, spent = time.perf_counter(), time.process_time()
        written = read(on_case)
        cost = Cost(worker=time.process_time() - spent)
        return written, cost, time.perf_counter() - began

    return run


def _same(texts: Sequence[str], expected: Sequence[str] | None) -> int | None:
    if expected is None:
        return None
    return sum(one == other for one, other in zip(texts, expected, strict=True))
