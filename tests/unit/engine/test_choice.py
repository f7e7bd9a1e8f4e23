"""Which token a row writes: the same as transformers' own processors choose."""

from __future__ import annotations

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

from worker.engine.models.choice import Chooser, Decoding
from worker.engine.models.pool import Pool, Shape

VOCABULARY = 50
ENDS = {1, 2}


def a_pool(rows, *, seed=0):
    shape = Shape(layers=1, rows=rows, key_heads=1, positions=64, dim=4, vocabulary=VOCABULARY)
    pool = Pool(shape, torch.float32, "cpu")
    pool.logits.copy_(torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3)
    return pool


def draws(seed):
    return torch.Generator().manual_seed(seed)


def test_greedy_is_the_likeliest_token_and_the_rows_next():
    pool = a_pool(3)
    chosen = Chooser(pool, ENDS, 1.0).choose([Decoding()] * 2)
    assert chosen.tokens == pool.logits[:2].argmax(-1).tolist()
    assert pool.tokens.tolist() == [*chosen.tokens, 0]
    assert chosen.logprobs is None


def test_the_repetition_penalty_is_that_of_transformers_and_covers_what_was_just_written():
    pool, penalty = a_pool(4), 1.7
    before = pool.logits.argsort(-1, descending=True)[:, :5]
    for row, ids in enumerate(before):
        pool.seen[row, ids] = True
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(before, pool.logits.clone()).argmax(-1)
    chosen = Chooser(pool, ENDS, penalty).choose([Decoding()] * 4)
    assert chosen.tokens == theirs.tolist()
    assert all(pool.seen[row, token] for row, token in enumerate(chosen.tokens))


def test_no_end_token_below_the_least_length():
    pool = a_pool(2)
    pool.logits[:, 1] = 100.0
    pool.lengths[:], pool.holds[:] = 10, torch.tensor([10, 11])
    first, second = Chooser(pool, ENDS, 1.0).choose([Decoding(holds=True)] * 2).tokens
    assert first == 1
    assert second not in ENDS


def test_log_probabilities_are_the_models_own_whatever_was_drawn():
    pool = a_pool(2)
    hot = Decoding(temperature=2.0, draws=draws(1), logprobs=True)
    chosen = Chooser(pool, ENDS, 1.5).choose([hot, Decoding()])
    said = pool.logits.log_softmax(-1)
    wanted = [said[row, token].item() for row, token in enumerate(chosen.tokens)]
    assert chosen.logprobs == pytest.approx(wanted, abs=1e-6)


def test_draws_follow_temperature_and_top_p():
    rows, temperature, top_p = 4000, 1.5, 0.8
    pool = a_pool(1)
    logits = pool.logits[:1].clone()
    pool = a_pool(rows)
    pool.logits.copy_(logits.expand(rows, -1))
    generator = draws(5)
    chosen = Chooser(pool, ENDS, 1.0).choose(
        [Decoding(temperature=temperature, top_p=top_p, draws=generator)] * rows
    )
    scores = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(temperature)(None, logits))
    wanted = scores.softmax(-1)[0]
    seen = torch.bincount(torch.tensor(chosen.tokens), minlength=VOCABULARY) / rows
    assert set(seen.nonzero()[:, 0].tolist()) <= set(wanted.nonzero()[:, 0].tolist())
    assert (seen - wanted).abs().sum() < 0.08


def test_a_draw_depends_on_its_own_seed_and_on_no_neighbour():
    def drawn(seed, beside):
        pool = a_pool(4)
        rows = [Decoding(temperature=1.0, draws=draws(seed))]
        rows += [Decoding(temperature=0.7, draws=draws(99))] * beside
        return Chooser(pool, ENDS, 1.0).choose(rows).tokens[0]

    assert [drawn(seed, 0) for seed in range(20)] == [drawn(seed, 3) for seed in range(20)]
    assert len({drawn(seed, 0) for seed in range(20)}) > 1
