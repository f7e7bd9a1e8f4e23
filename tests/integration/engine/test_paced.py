"""The engine of the benchmarks whose device takes as long as it is told."""

from __future__ import annotations

import time

from tests.benchmarks.flight import Counted, Flight
from tests.benchmarks.paced import Pace, Paced, paced
from tests.benchmarks.workload import Case, tokens_of
from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.models.loading import Source


def in_flight(make=InFlightReasoner, **more):
    source = Source(model="demo", license_accepted="", max_pixels=1_003_520)
    return make(source, rows=2, max_new_tokens=64, **more)


def test_answers_have_their_length_and_no_step_or_prompt_is_quicker_than_told():
    asked = [Case(name="paced", number=number, tokens=16 + number) for number in range(4)]
    reasoner = Counted(in_flight(Paced, pace=Pace(step=0.002, prompt=0.01)))
    with Flight(reasoner, 2, "cpu").open() as flight:
        began = time.monotonic()
        written = flight.read(asked, lambda _: None)
        seconds = time.monotonic() - began
    assert tokens_of(asked) // 2 <= written.steps <= tokens_of(asked)
    assert seconds >= 4 * 0.01 + (written.steps - 4) * 0.002


def test_without_a_pace_the_reasoner_stays_what_it_is():
    reasoner = in_flight()
    assert paced(reasoner, ()) is reasoner
    assert isinstance(paced(reasoner, (3.4, 24)), Paced)
