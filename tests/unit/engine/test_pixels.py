"""How large the model sees the pictures of one question."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.pixels import FLOOR_TOKENS, TOKEN_PIXELS, model_size, share
from worker.errors import PromptUnreadable

MILLION = 1_003_520

sides = st.integers(28, 4000)
sizes = st.lists(
    st.tuples(sides, sides).filter(lambda size: max(size) <= 8 * min(size)), min_size=1, max_size=136
)


def shown_tokens(pictures, pixels):
    shown = [model_size(*size, most) for size, most in zip(pictures, pixels, strict=True)]
    return sum(math.prod(size) for size in shown) // TOKEN_PIXELS


@given(size=st.tuples(sides, sides), tokens=st.integers(1024, 131_072), most=st.integers(784, 12_845_056))
def test_one_picture_alone_has_all_it_ever_had(size, tokens, most):
    assert share([size], tokens=tokens, max_pixels=most) == (most,)


@given(pictures=sizes, tokens=st.integers(1024, 20_000))
def test_together_they_stay_within_the_tokens_and_each_within_its_limit(pictures, tokens):
    pixels = share(pictures, tokens=tokens, max_pixels=MILLION)
    assert len(pixels) == len(pictures)
    assert all(0 < each <= MILLION for each in pixels)
    budget = max(tokens, MILLION // TOKEN_PIXELS)
    # a narrow picture may be rounded up to whole tokens
    assert shown_tokens(pictures, pixels) <= budget + 4 * len(pictures)


@given(pictures=sizes)
def test_where_there_is_room_for_all_nothing_changes(pictures):
    assert set(share(pictures, tokens=136 * 1280, max_pixels=MILLION)) == {MILLION}


@given(pictures=sizes, tokens=st.integers(1024, 20_000))
def test_a_larger_picture_never_has_less_and_each_has_a_floor(pictures, tokens):
    pixels = share(pictures, tokens=tokens, max_pixels=MILLION)
    wanted = [math.prod(model_size(*size, MILLION)) for size in pictures]
    budget = max(tokens * TOKEN_PIXELS, MILLION)
    floor = min(FLOOR_TOKENS * TOKEN_PIXELS, budget // len(pictures))
    for (one, has), (other, has_too) in zip(
        sorted(zip(wanted, pixels, strict=True)), sorted(zip(wanted, pixels, strict=True))[1:], strict=False
    ):
        assert one <= other
        assert has <= has_too
    assert all(has >= min(want, floor) for want, has in zip(wanted, pixels, strict=True))


def test_shares_go_by_size_and_not_by_place():
    large, small = (1024, 1024), (512, 512)
    shares = share([small, large, large, small], tokens=1280, max_pixels=MILLION)
    assert shares[1] == shares[2]
    assert shares[0] == shares[3]
    assert shares[1] / shares[0] == pytest.approx(4, rel=0.1)


def test_an_overview_and_four_windows_of_a_megapixel_fit_as_they_are():
    assert set(share([(1024, 768)] + [(1024, 1024)] * 4, tokens=10_240, max_pixels=MILLION)) == {MILLION}


def test_eight_slides_share_what_eight_pictures_take():
    pictures = ([(1024, 768)] + [(1024, 1024)] * 4) * 8
    pixels = share(pictures, tokens=10_240, max_pixels=MILLION)
    assert shown_tokens(pictures, pixels) <= 10_240
    assert min(pixels) > 150_000


def test_a_picture_that_is_far_too_long_is_refused():
    with pytest.raises(PromptUnreadable):
        share([(100, 100), (4001, 20)], tokens=1024, max_pixels=MILLION)
