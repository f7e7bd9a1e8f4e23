"""What the pipeline asks of the engine, and what it writes down of its answer."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.builders import a_request
from tests.unit.engine.test_loop import IDENTITY
from worker.engine.reasoner import Completion, Finish
from worker.jobs.request import Priority
from worker.pipeline import Pipeline


class Recording:
    """An engine that answers at once and keeps how it was asked."""

    def submit(self, prompt, interrupt, **how):
        self.prompt, self.how = prompt, how
        future = Future()
        text = "<think>brown</think><answer>DAB</answer>"
        future.set_result(
            Completion(
                text=text, finish=Finish.STOP, prompt_tokens=9, completion_tokens=5, seconds=0.5, rows=7
            )
        )
        return future


@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("alone", [False, True])
def test_the_engine_hears_how_urgent_a_case_is_and_whether_it_is_a_suspect(priority, alone):
    engine = Recording()
    pipeline = Pipeline(
        open_patches=lambda _: (), engine=engine, identity=replace(IDENTITY, engine="in-flight"),
        limits=SimpleNamespace(max_new_tokens=8, answer_seconds=60),
    )  # fmt: skip
    job = SimpleNamespace(request=a_request(priority=priority), alone=alone)
    reading = pipeline.read(job, threading.Event())
    assert engine.how == {"priority": priority, "alone": alone}
    provenance = reading.provenance
    assert (provenance.engine, provenance.rows, provenance.dtype, provenance.seed) == (
        "in-flight", 7, "float32", engine.prompt.seed,
    )  # fmt: skip


def test_the_pictures_are_kept_while_the_engine_is_at_it():
    engine, order = Recording(), []
    submit = engine.submit
    engine.submit = lambda *a, **k: order.append("asked") or submit(*a, **k)
    pipeline = Pipeline(
        open_patches=lambda _: (), engine=engine, identity=IDENTITY,
        limits=SimpleNamespace(max_new_tokens=8, answer_seconds=60), keep=order.append,
    )  # fmt: skip
    pipeline.read(SimpleNamespace(request=a_request(), alone=False), threading.Event())
    assert order == ["asked", ()]
