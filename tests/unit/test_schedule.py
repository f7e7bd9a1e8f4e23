"""The retry schedule, with jitter, and what a receiver may ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.schedule import LONGEST, SCHEDULE, asked_wait, wait_after

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MIDDLE = 0.5


def test_the_waits_are_those_of_the_specification():
    waits = [wait_after(attempt, chance=MIDDLE) for attempt in range(1, 10)]
    minutes, hours = (lambda n: timedelta(minutes=n)), (lambda n: timedelta(hours=n))
    assert waits == [
        timedelta(seconds=5), minutes(5), minutes(30), hours(2), hours(5), hours(10), hours(14), hours(20), hours(24),
    ]  # fmt: skip
    assert sum(SCHEDULE, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


def test_after_the_tenth_attempt_there_is_no_other():
    assert wait_after(10, chance=MIDDLE) is None
    assert wait_after(11, chance=MIDDLE, asked=timedelta(seconds=1)) is None


@given(attempt=st.integers(1, 9), chance=st.floats(0, 1))
def test_jitter_stays_within_a_fifth_of_the_planned_wait(attempt, chance):
    wait = wait_after(attempt, chance=chance)
    assert wait is not None
    assert SCHEDULE[attempt] * 0.8 <= wait <= SCHEDULE[attempt] * 1.2


def test_a_receiver_can_ask_for_more_patience_but_not_for_less():
    assert wait_after(1, chance=0, asked=timedelta(minutes=2)) == timedelta(minutes=2)
    assert wait_after(3, chance=MIDDLE, asked=timedelta(seconds=1)) == timedelta(minutes=30)


@given(asked=st.timedeltas(timedelta(0), timedelta(days=400)), chance=st.floats(0, 1))
def test_a_receiver_cannot_ask_for_more_than_a_day_and_its_wish_is_a_minimum(asked, chance):
    wait = wait_after(1, chance=chance, asked=asked)
    assert wait is not None
    assert min(asked, LONGEST) <= wait <= LONGEST * 1.2


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("9" * 5000, LONGEST),
        ("Mon, 23 Nov 2026 12:02:00 GMT", timedelta(minutes=2)),
        ("Monday, 23-Nov-26 12:02:00 GMT", timedelta(minutes=2)),  # RFC 850, still to be read
        ("Mon Nov 23 12:02:00 2026", timedelta(minutes=2)),  # asctime, the same
        ("Mon, 23 Nov 2026 13:02:00 +0100", timedelta(minutes=2)),
        ("Mon, 23 Nov 2026 11:00:00 GMT", timedelta(0)),  # past
        ("Mon, 23 Nov 2099 11:00:00 GMT", LONGEST),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Mon, 99 Nov 2026 12:02:00 GMT", None),
        ("\N{SUPERSCRIPT TWO}", None),  # a digit to str.isdigit, not to int
    ],
)
def test_retry_after_is_read_as_seconds_or_date(header, wait):
    assert asked_wait(header, now=NOW) == wait


@given(st.text(max_size=60))
def test_no_retry_after_whatever_raises(header):
    asked_wait(header, now=NOW)
