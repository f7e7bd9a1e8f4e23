"""The simulated day: its parts that need no store."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from tests.benchmarks.national_day import CURVE, SHARES, TOKENS, arrivals, percentile
from tests.benchmarks.simulation import Clock, Speed
from worker.jobs.request import Priority


@pytest.fixture
def day():
    return arrivals(20_000, random.Random(1))


def test_a_day_has_its_cases_in_the_order_of_time(day):
    assert len(day) == 20_000
    assert all(one.at <= other.at for one, other in pairwise(day))
    assert day[0].at >= 0
    assert day[-1].at < 24 * 3600


def test_the_curve_says_how_many_come_in_an_hour(day):
    hours = Counter(int(one.at // 3600) for one in day)
    assert hours[9] / len(day) == pytest.approx(CURVE[9] / sum(CURVE), rel=0.1)
    assert hours[9] > 8 * hours[3]


def test_priorities_have_their_shares_and_answers_their_length(day):
    stat = sum(one.priority is Priority.STAT for one in day) / len(day)
    assert stat == pytest.approx(SHARES[Priority.STAT], rel=0.2)
    assert sum(one.tokens for one in day) / len(day) == pytest.approx(TOKENS, rel=0.05)


def test_the_same_seed_is_the_same_day(day):
    assert arrivals(20_000, random.Random(1)) == day


def test_a_percentile_of_nothing_is_nothing():
    assert percentile([], 0.95) == 0
    assert percentile([3, 1, 2], 0.5) == 2


def test_the_clock_goes_from_one_thing_to_the_next_and_never_back():
    clock, seen = Clock(), []
    clock.at(5, lambda: seen.append(clock.now))
    clock.at(2, lambda: clock.at(1, lambda: seen.append(clock.now)))
    clock.run(until=lambda: False)
    assert seen == [2, 5]


def test_the_store_is_told_the_simulated_time():
    clock = Clock()
    clock.now = 3661.5
    assert clock.sql() == "2026-01-01 01:01:01.500000"


def test_a_step_costs_more_with_every_row():
    assert Speed(step=0.08, row=0.001, prefill=0).of_step(11) == pytest.approx(0.09)
