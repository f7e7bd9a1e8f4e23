"""What may follow what, and how long a failed attempt waits."""

from datetime import timedelta
from itertools import product

import pytest

from worker.jobs.event import DELIVERY_TRANSITIONS, DeliveryStatus
from worker.jobs.job import TERMINAL, TRANSITIONS, Status, backoff

Q, R, S, F, C = Status


def test_the_allowed_pairs_are_these_and_every_other_pair_is_forbidden():
    allowed = {(Q, R), (Q, C), (R, Q), (R, S), (R, F), (R, C)}
    forbidden = set(product(Status, Status)) - allowed
    assert set(TRANSITIONS) == allowed
    assert len(forbidden) == 19


def test_nothing_follows_an_end():
    assert not [pair for pair in TRANSITIONS if pair[0] in TERMINAL]


def test_a_delivery_leaves_an_end_only_by_a_replay():
    ends = {DeliveryStatus.DELIVERED, DeliveryStatus.EXHAUSTED, DeliveryStatus.GONE}
    assert {why for pair, why in DELIVERY_TRANSITIONS.items() if pair[0] in ends} == {"replay"}


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 5), (2, 10), (3, 20), (20, 600)])
def test_the_wait_doubles_up_to_ten_minutes(attempt, seconds):
    assert backoff(attempt, 0.5) == timedelta(seconds=seconds)
    assert backoff(attempt, 0) == timedelta(seconds=seconds * 0.75)
