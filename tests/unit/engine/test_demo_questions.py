"""What the demo reasoner is taught to reply."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engine.models.demo.questions import Form, ask, reasoning
from worker.engine.models.demo.tiles import Stain
from worker.engine.prompt import choice, parse
from worker.engine.reasoner import Finish
from worker.jobs.request import Style

COUNTS = {Form.OPEN: 0, Form.TWO: 2, Form.THREE: 3, Form.FOUR: 4}
SEEDS = range(30)


def exchanges(stain, form, style=Style.COT):
    return [ask(np.random.default_rng(seed), stain, form, style) for seed in SEEDS]


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("stain", list(Stain))
def test_the_true_stain_is_always_among_the_options(stain, form):
    for exchange in exchanges(stain, form):
        assert len(set(exchange.options)) == len(exchange.options) == COUNTS[form]
        assert not exchange.options or stain.value in exchange.options


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("stain", list(Stain))
def test_the_reply_is_read_as_the_answer_that_was_meant(stain, style):
    for exchange in exchanges(stain, Form.THREE, style):
        parsed = parse(exchange.reply, Finish.STOP, exchange.options)
        assert parsed.answer == exchange.answer
        assert exchange.options["ABC".index(choice(parsed.answer, exchange.options))] == stain.value


def test_an_open_question_is_answered_with_the_stain_alone():
    assert {exchange.answer for exchange in exchanges(Stain.DAB, Form.OPEN)} == {
        "Immunohistochemistry with DAB"
    }


def test_the_true_option_stands_in_every_place():
    letters = {exchange.answer[0] for exchange in exchanges(Stain.OTHER, Form.FOUR)}
    assert letters == set("ABCD")


@pytest.mark.parametrize("stain", list(Stain))
def test_a_draft_is_shorter_than_a_chain_and_has_at_most_five_words_a_step(stain):
    draft, chain = reasoning(stain, Style.COD), reasoning(stain, Style.COT)
    assert len(draft.split()) < len(chain.split()) / 2
    assert all(len(step.split()) <= 5 for step in draft.split("."))


def test_questions_come_in_many_wordings():
    assert len({exchange.question for exchange in exchanges(Stain.HE, Form.OPEN)}) > 20
