"""The cases that every engine of the benchmark is asked, and the shape that the roofline counts."""

from __future__ import annotations

from statistics import mean, median

import pytest

from tests.benchmarks import bandwidth
from tests.benchmarks.flight import in_threads
from tests.benchmarks.loops import batches
from tests.benchmarks.real_model import built, opening
from tests.benchmarks.workload import LARGE, LENGTHS, LONG, LONGEST, SHORTEST, SIZES, cases, tokens_of


@pytest.mark.parametrize("shape", LENGTHS)
def test_the_same_cases_come_every_time(shape):
    one, other = cases(shape, 32), cases(shape, 32)
    assert one == other
    assert [case.picture.tobytes() for case in one[:4]] == [case.picture.tobytes() for case in other[:4]]
    assert cases(shape, 32, seed=2) != one


@pytest.mark.parametrize("shape", ["uniform", "skewed"])
def test_lengths_stay_between_16_and_256_tokens(shape):
    lengths = [case.tokens for case in cases(shape, 500)]
    assert (min(lengths), max(lengths)) == (SHORTEST, LONGEST)


def test_long_answers_are_as_long_as_reasoning_is():
    lengths = [case.tokens for case in cases("long", 500)]
    assert LONG[0] <= min(lengths) < LONG[0] + 30
    assert LONG[1] - 30 < max(lengths) <= LONG[1]


def test_skewed_lengths_are_mostly_short():
    lengths = [case.tokens for case in cases("skewed", 500)]
    assert median(lengths) < mean(lengths) < mean(case.tokens for case in cases("uniform", 500))


def test_a_prompt_forces_its_length():
    case = cases("uniform", 1)[0]
    assert case.prompt().min_new_tokens == case.prompt().max_new_tokens == case.tokens


def test_no_two_cases_have_the_same_question():
    asked = [*cases("uniform", 64), *cases("skewed", 64)]
    assert len({case.question for case in asked}) == 128


def test_no_engine_has_to_scale_a_picture():
    assert all(side % 28 == 0 for size in (*SIZES, *LARGE) for side in size)


def test_batches_keep_the_order_and_lose_nobody():
    asked = cases("uniform", 10)
    parts = batches(asked, 4)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert sum(map(tokens_of, parts)) == tokens_of(asked)


def test_everything_is_done_and_a_failure_is_raised():
    done = list[int]()
    in_threads(3, done.append, range(20))
    assert sorted(done) == list(range(20))
    with pytest.raises(ZeroDivisionError):
        in_threads(3, lambda number: 1 // number, [1, 0, 1])


def test_the_real_shape_is_that_of_qwen2_5_vl_3b():
    model = built("meta", tiny=False)
    assert model.num_parameters() == 3_754_622_976
    assert bandwidth.position_bytes(model) == 36_864
    assert round(bandwidth.step_bytes(model, rows=0, context=0) / 1e9, 2) == 6.17
    assert bandwidth.step_bytes(model, rows=8, context=100) - bandwidth.step_bytes(
        model, rows=0, context=0
    ) == (8 * 100 * 36_864)


def test_a_prompt_of_the_real_shape_has_a_token_for_each_28_pixels_of_its_image():
    assert opening(built("meta", tiny=True), 112).length == 120 + 2 + 16
