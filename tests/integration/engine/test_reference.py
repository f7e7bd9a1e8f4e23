"""What only the reference engine does: greedy answers alone, static batches, and how these give way to memory."""

from __future__ import annotations

import pytest

from tests.integration.engine.tiny import LICENSE, MIXED, ask, picture, save_tiny
from tests.reasoners import read, submit
from worker.engine.loop import EngineLoop
from worker.engine.models.loading import Source
from worker.engine.models.reference import ReferenceReasoner
from worker.engine.reasoner import Completion, Interrupt
from worker.errors import GpuOutOfMemory, PromptUnreadable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder, seed=1)
    return folder


def reference(folder, rows=8):
    return ReferenceReasoner(
        Source(model=str(folder), license_accepted=LICENSE, max_pixels=1_003_520), rows=rows
    )


class Small:
    """A device whose memory holds so many rows: a model whose `generate` refuses larger batches, as CUDA does."""

    def __init__(self, model, rows):
        self._model, self._rows, self.sizes = model, rows, []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def generate(self, **inputs):
        import torch

        self.sizes.append(len(inputs["input_ids"]))
        if self.sizes[-1] > self._rows:
            raise torch.OutOfMemoryError
        return self._model.generate(**inputs)


@pytest.fixture
def on_small_device(folder):
    """A loop whose device holds so many rows, and its model."""
    loops = []

    def start(rows):
        reasoner = reference(folder)
        loop = EngineLoop(reasoner, rows=8)
        loop.start("cpu")
        reasoner._model.model = Small(reasoner._model.model, rows)
        loops.append(loop)
        return loop, reasoner._model.model

    yield start
    for loop in loops:
        assert loop.close(timeout=30)


def together(loop, prompts):
    """All are there before the first step."""
    with loop._changed:
        futures = [submit(loop, prompt, Interrupt()) for prompt in prompts]
    return [future.exception(60) or future.result() for future in futures]


def test_what_does_not_fit_is_read_in_halves(folder, on_small_device):
    reasoner = reference(folder)
    reasoner.load("cpu")
    whole = read(reasoner, MIXED[:4])
    loop, model = on_small_device(2)
    halves = together(loop, MIXED[:4])
    assert model.sizes == [4, 2, 2]
    assert [completion.text for completion in halves] == [completion.text for completion in whole]
    assert {completion.rows for completion in halves} == {2}


def test_what_does_not_fit_in_halves_either_fails_and_may_be_tried_again(on_small_device):
    loop, model = on_small_device(1)
    results = together(loop, MIXED[:4])
    assert model.sizes == [4, 2, 2]
    assert {type(result) for result in results} == {GpuOutOfMemory}
    assert results[0].retryable
    [alone] = together(loop, MIXED[:1])
    assert isinstance(alone, Completion)


@pytest.mark.parametrize("fields", [{"temperature": 1.0}, {"samples": 2}, {"logprobs": True}])
def test_what_is_not_greedy_is_refused(folder, fields):
    reasoner = reference(folder)
    reasoner.load("cpu")
    [refused] = read(reasoner, [ask(picture(), **fields)])
    assert isinstance(refused, PromptUnreadable)


def test_a_least_length_holds_for_each_row_of_a_batch(folder):
    reasoner = reference(folder)
    reasoner.load("cpu")
    free = read(reasoner, [ask(picture(seed), limit=300) for seed in range(8)])
    lengths = [completion.completion_tokens + 20 for completion in free]
    held = read(
        reasoner,
        [ask(picture(seed), limit=more, min_new_tokens=more) for seed, more in enumerate(lengths)],
    )
    assert [completion.completion_tokens for completion in held] == lengths
