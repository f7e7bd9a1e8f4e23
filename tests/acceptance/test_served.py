"""A model that somebody else serves: `transformers serve` runs the demonstration, and Pathlane asks it over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from tests import transformers_serve
from tests.acceptance.conftest import Up
from tests.conftest import ROOT, missing
from tests.integration.engine.tiny import LICENSE, ask, picture, save_tiny
from tests.reasoners import read, submit
from worker.engine.loop import EngineLoop
from worker.engine.models.demo import CHECKPOINT
from worker.engine.models.loading import Source
from worker.engine.models.reference import ReferenceReasoner
from worker.engine.models.served import Served, ServedReasoner
from worker.engine.models.served_server import Server
from worker.engine.prompt import parse
from worker.engine.reasoner import Finish, Prompt
from worker.jobs.request import Style

DEMO, RAMBLING = "pathlane/demo", "pathlane/rambling"
QUESTION = "Which stain is shown?"
DAB = "Immunohistochemistry with DAB"
OPTIONS = ("Hematoxylin and eosin", DAB, "No tissue")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server with two models: PATHLANE_TEST_SERVED_URL, or one of our own."""
    if given := os.environ.get("PATHLANE_TEST_SERVED_URL"):
        yield given
        return
    if not transformers_serve.is_installed():
        missing("`transformers serve` (the extra `serving` of transformers)")
    rambling = tmp_path_factory.mktemp("rambling") / "model"
    save_tiny(rambling, seed=1)
    with transformers_serve.serving({DEMO: CHECKPOINT, RAMBLING: rambling}) as running:
        yield running


def reasoner_at(url, model=DEMO):
    source = Served(model=model, license_accepted=LICENSE, max_pixels=1_003_520, max_new_tokens=1024)
    return ServedReasoner(source, Server(url=url, plain_http=True, silence_seconds=300), rows=4)


def stain_of(image, *, options=OPTIONS, style=Style.COT, **fields):
    return Prompt(
        images=(image,), question=QUESTION, options=options, style=style, max_new_tokens=160, **fields
    )


def test_the_server_names_the_stain_with_the_words_of_the_reference_engine(url, ihc):
    prompts = [
        stain_of(ihc),
        stain_of(ihc.resize((112, 112)), options=(), style=Style.COD),
        stain_of(ihc.convert("L").point(lambda _: 245).convert("RGB"), options=(*OPTIONS, "Other stain")),
    ]
    served = read(reasoner_at(url), prompts)
    parsed = [
        parse(one.text, one.finish, prompt.options) for one, prompt in zip(served, prompts, strict=True)
    ]
    assert [one.answer for one in parsed] == [f"B. {DAB}", DAB, "C. No tissue"]
    reference = ReferenceReasoner(Source(model="demo", license_accepted="", max_pixels=1_003_520))
    reference.load("cpu")
    alone = read(reference, prompts)
    assert [one.text for one in served] == [one.text for one in alone]
    assert [one.prompt_tokens for one in served] == [one.prompt_tokens for one in alone]
    for one, other in zip(served, alone, strict=True):  # servers differ in whether the end token counts
        assert 0 <= other.completion_tokens - one.completion_tokens <= 1


def test_samples_are_written_side_by_side(url, ihc):
    [completion] = read(reasoner_at(url), [stain_of(ihc, samples=3)])
    texts = [completion.text, *(other.text for other in completion.others)]
    assert len(texts) == 3
    assert len(set(texts)) == 1
    assert completion.rows == 3


class Cut:
    """An interrupt that comes when the test says so."""

    def __init__(self, how):
        self.how, self.now, self.cancelled = how, threading.Event(), threading.Event()

    def reason(self, _):
        return self.how if self.now.is_set() else None


@pytest.mark.parametrize("how", [Finish.CANCELLED, Finish.DEADLINE])
def test_an_answer_that_is_cut_in_the_middle_keeps_its_text_and_sets_the_server_free(url, ihc, how):
    """The rambling model writes a thousand tokens; the server reads one request at a time."""
    rambling, cut = reasoner_at(url, RAMBLING), Cut(how)
    loop = EngineLoop(rambling, rows=4)
    loop.start("auto")
    future = submit(loop, ask(picture(), limit=1000), cut)
    while _written(rambling) <= 20:
        assert not future.done()
        time.sleep(0.02)
    cut.now.set()
    completion = future.result(20)
    assert completion.finish is how
    assert 20 < completion.completion_tokens < 1000
    assert completion.text
    assert loop.close(5)
    [next_one] = read(reasoner_at(url), [stain_of(ihc)])
    assert next_one.finish is Finish.STOP


def _written(reasoner):
    return sum(call.answer.completion_tokens for asked in [*reasoner._asked.values()] for call in asked.calls)


def test_a_limit_is_kept(url):
    [completion] = read(reasoner_at(url, RAMBLING), [ask(picture(), limit=12)])
    assert (completion.finish, completion.completion_tokens) == (Finish.LENGTH, 12)


def served_settings(url, **more):
    return {
        "ENGINE": "served", "SERVED_URL": url, "SERVED_PLAIN_HTTP": "true", "SERVED_SILENCE_SECONDS": "300",
        "MODEL": DEMO, "MODEL_LICENSE": LICENSE,
    } | more  # fmt: skip


def test_a_case_goes_in_and_the_server_s_answer_comes_out(url, ihc, tmp_path):
    """The programs themselves: `pathlane up` with a worker that has no model of its own."""
    stack = Up(tmp_path, **served_settings(url))
    try:
        stack.start()
        ihc.save(tmp_path / "tile.png")
        job = stack.submit(tmp_path / "tile.png", "--wait")
        status = stack.status()
    finally:
        stack.kill()
    reading = job["reading"]
    assert (job["status"], reading["outcome"], reading["answer"]) == ("succeeded", "answered", f"B. {DAB}")
    known = reading["provenance"]
    assert (known["engine"], known["model"], known["license"]) == ("served", DEMO, LICENSE)
    assert known["weights_digest"].startswith("unknown:")
    assert [worker["device"] for worker in status["workers"]] == [url.split("/")[2]]


def check(url, **settings):
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "check"], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {f"PATHLANE_{k}": v for k, v in served_settings(url, **settings).items()},
    )  # fmt: skip
    return ended.returncode, json.loads(ended.stdout)


def test_the_doctor_s_check_asks_the_server(url):
    assert check(url) == (0, {"ok": True, "text": f"{DEMO} is here"})
    status, said = check(url, MODEL="patho/unknown")
    assert (status, said["ok"]) == (78, False)
    assert f"`{DEMO}`" in said["text"]
    status, said = check("http://127.0.0.1:9/v1")
    assert (status, said["ok"]) == (1, False)
    assert "unreachable" in said["text"]
