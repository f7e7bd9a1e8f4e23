"""The in-flight engine on a CUDA device: `pytest -m gpu tests/gpu`. Skipped where there is none.

Written without a device at hand: until somebody has run it, nothing here says that the engine works on one.
"""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks.agreement import agreement, prompts
from tests.integration.engine.tiny import LICENSE, MIXED, save_tiny
from tests.reasoners import read, submit
from worker.engine.loop import EngineLoop
from worker.engine.models.decoder import Decoder
from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.models.loading import Source, load
from worker.engine.models.rows import Rows
from worker.engine.reasoner import Interrupt

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
DEVICE = "cuda:0"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder, seed=1)
    return str(folder)


def source(model, dtype):
    return Source(model=model, license_accepted=LICENSE, max_pixels=1_003_520, dtype=dtype)


@pytest.fixture(autouse=True)
def full_float32():
    """TF32 rounds products to ten bits: not what `float32` means here."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("rows", [1, 8, 32])
def test_in_float32_every_answer_is_that_of_batch_1(rows):
    asked = list(prompts(32, forced=True))
    assert agreement(source("demo", "float32"), DEVICE, rows, asked) == (len(asked), [])


def test_in_bfloat16_answers_that_end_by_themselves_mostly_agree(record_property):
    asked = list(prompts(64, forced=False))
    same, _ = agreement(source("demo", "bfloat16"), DEVICE, 8, asked)
    record_property("agreement", f"{same} / {len(asked)}")
    assert same >= 0.8 * len(asked)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_captured_steps_write_what_eager_steps_write(tiny, dtype):
    model, _ = load(source(tiny, dtype), DEVICE, engine="in-flight", packed=True)
    answers = []
    for use_graphs in (False, True):
        decoder = Decoder(model.model, rows=4, positions=1024, use_graphs=use_graphs, buckets=True)
        answers.append([each.text for each in read(Rows(model, decoder), MIXED * 3)])
    assert answers[0] == answers[1]


def test_a_pool_takes_what_is_free_and_no_more(tiny):
    reasoner = InFlightReasoner(source(tiny, ""), rows=32, max_new_tokens=256)
    identity = reasoner.load(DEVICE)
    assert (identity.dtype, identity.device) == ("bfloat16", DEVICE)
    free, _ = torch.cuda.mem_get_info(DEVICE)
    assert free > 1 << 30
    assert reasoner.rows == 32


class Greedy:
    """A decoder whose first prefill asks the device for more memory than it has."""

    def __init__(self, decoder):
        self.pool, self.decode, self._decoder, self.tries = decoder.pool, decoder.decode, decoder, 0

    def prefill(self, *arguments, **options):
        self.tries += 1
        if self.tries == 1:
            _, total = torch.cuda.mem_get_info(DEVICE)
            torch.empty(2 * total, dtype=torch.uint8, device=DEVICE)
        self._decoder.prefill(*arguments, **options)


def test_a_prompt_that_finds_no_memory_is_read_again(tiny):
    reasoner = InFlightReasoner(source(tiny, ""), rows=4, max_new_tokens=64)
    loop = EngineLoop(reasoner, rows=4)
    loop.start(DEVICE)
    wanted = submit(loop, MIXED[2], Interrupt()).result(60).text
    reasoner._rows._decoder = greedy = Greedy(reasoner._rows._decoder)
    assert submit(loop, MIXED[2], Interrupt()).result(60).text == wanted
    assert greedy.tries == 2
    assert loop.close(timeout=30)
