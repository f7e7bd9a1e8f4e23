"""What the pipeline asks of the engine, and what it writes down of its answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.builders import a_reading, a_request
from tests.unit.engine.test_loop import IDENTITY
from worker.engine.reasoner import Completion, Finish, Prepared
from worker.imaging.source import Patch
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority
from worker.pipeline import Pipeline


class Recording:
    """An engine that answers at once and keeps how it was asked."""

    def prepare(self, prompt):
        self.prompt = prompt
        return Prepared()

    def ask(self, prepared, interrupt, **how):
        self.how = how
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


[RECORD] = a_reading().provenance.patches
OVERVIEW = replace(RECORD, part="overview", spacing=20.0, tissue_covered=0.5)
WINDOW = replace(RECORD, part="window", spacing=1.0, tissue_covered=0.5)
BLANK = replace(RECORD, part="overview", spacing=20.0, tissue_covered=0.0)


def read(*records, size=(1024, 1024)):
    engine = Recording()
    patches, kept = tuple(Patch(pixels=Image.new("RGB", size), record=record) for record in records), []
    pipeline = Pipeline(
        open_patches=lambda _: patches, engine=engine, identity=replace(IDENTITY, max_pixels=1_003_520),
        limits=SimpleNamespace(max_new_tokens=8, answer_seconds=60), keep=kept.extend,
    )  # fmt: skip
    job = SimpleNamespace(request=a_request(), alone=False)
    reading = pipeline.read(job, threading.Event())
    assert kept == list(patches), "also where no model was asked: a reviewer may doubt that there is nothing"
    return engine, reading


def test_of_glass_alone_no_model_is_asked_and_the_reading_says_so():
    engine, reading = read(BLANK, replace(BLANK, image=1))
    assert not hasattr(engine, "prompt")
    assert reading.outcome is ReadingOutcome.NO_TISSUE_FOUND
    assert (reading.reasoning, reading.answer, reading.choice, reading.raw_text) == ("", "", None, "")
    assert (reading.prompt_tokens, reading.completion_tokens, reading.timings["engine"]) == (0, 0, 0.0)
    assert (reading.provenance.rows, reading.provenance.patches) == (0, (BLANK, replace(BLANK, image=1)))
    assert reading.provenance.model == IDENTITY.model


def test_a_blank_slide_beside_another_is_still_shown():
    engine, reading = read(BLANK, replace(OVERVIEW, image=1), replace(WINDOW, image=1))
    assert reading.outcome is ReadingOutcome.ANSWERED
    assert len(engine.prompt.images) == 3
    assert "Image 1: overview of a slide, on which no tissue was found." in engine.prompt.legend


def test_pictures_of_a_slide_are_named_and_the_reading_says_that_they_were():
    engine, reading = read(OVERVIEW, WINDOW, WINDOW)
    assert engine.prompt.legend == "Image 1: overview of a slide. Images 2 to 3: parts of this slide at 10 x."
    assert reading.provenance.prompt_version == f"{IDENTITY.prompt_version}+legend/1"


@pytest.mark.parametrize("records", [[RECORD], [RECORD, replace(RECORD, image=1)]])
def test_without_a_slide_the_prompt_is_the_one_it_was(records):
    engine, reading = read(*records)
    assert engine.prompt.legend == ""
    assert reading.provenance.prompt_version == IDENTITY.prompt_version
    assert "max_pixels_each" not in reading.provenance.decoding


def test_what_each_picture_may_have_is_written_down_where_they_share():
    _, few = read(OVERVIEW, *[WINDOW] * 4)
    assert "max_pixels_each" not in few.provenance.decoding
    _, many = read(OVERVIEW, *[WINDOW] * 16)
    each = many.provenance.decoding["max_pixels_each"]
    assert len(each) == 17
    assert sum(each) <= 10_240 * 28 * 28


def test_the_pictures_are_kept_while_the_engine_is_at_it():
    engine, order = Recording(), []
    ask = engine.ask
    engine.ask = lambda *a, **k: order.append("asked") or ask(*a, **k)
    pipeline = Pipeline(
        open_patches=lambda _: (), engine=engine, identity=IDENTITY,
        limits=SimpleNamespace(max_new_tokens=8, answer_seconds=60), keep=order.append,
    )  # fmt: skip
    pipeline.read(SimpleNamespace(request=a_request(), alone=False), threading.Event())
    assert order == ["asked", ()]


def test_a_case_enters_the_device_when_it_is_ready_and_waiting_for_that_is_not_its_time():
    engine, order = Recording(), [time.monotonic()]
    prepare, ask = engine.prepare, engine.ask
    engine.prepare = lambda prompt: time.sleep(1) or order.append("prepared") or prepare(prompt)
    engine.ask = lambda prepared, interrupt, **how: (
        order.append(interrupt.deadline) or ask(prepared, interrupt, **how)
    )
    pipeline = Pipeline(
        open_patches=lambda _: (), engine=engine, identity=IDENTITY,
        limits=SimpleNamespace(max_new_tokens=8, answer_seconds=60),
    )  # fmt: skip

    def enter():
        time.sleep(0.6)
        order.append("entered")

    pipeline.read(SimpleNamespace(request=a_request(), alone=False), threading.Event(), enter)
    began, *steps, deadline = order
    assert steps == ["prepared", "entered"]
    assert 60.6 <= deadline - began < 61.5, "preparing is"
