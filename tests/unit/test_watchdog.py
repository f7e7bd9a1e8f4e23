"""What counts as stuck: no change while awake, for longer than the limit."""

import threading
import time

import pytest

from worker.engine.loop import Progress
from worker.watchdog import ENGINE_FAILED, Stall, Watchdog, within


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_stamp_that_stands_still_past_the_limit_is_a_stall():
    stall = Stall(limit=3)
    assert [stall.look("a", second) for second in range(4)] == [None] * 4
    assert stall.look("a", 4) == 4


def test_a_stamp_that_moves_or_is_idle_is_none():
    stall = Stall(limit=3)
    assert [stall.look(second // 3, second) for second in range(12)] == [None] * 12
    assert [stall.look(None, second) for second in range(12, 24)] == [None] * 12


def test_a_process_that_slept_is_not_stuck_when_it_wakes():
    stall = Stall(limit=10)
    stall.look("a", 0)
    assert stall.look("a", 3600) is None, "it was the watchdog too that slept"
    assert stall.look("b", 3601) is None


class Watched:
    """An engine and a heartbeat, and what a watchdog did about them."""

    def __init__(self):
        self.clock, self.left, self.given_back = Clock(), [], []
        self.progress, self.rounds = Progress(at=0.0, busy=False), 0
        self.watchdog = Watchdog(
            progress=lambda: self.progress, rounds=lambda: self.rounds, give_back=self.given_back.append,
            step_seconds=60, round_seconds=120, clock=self.clock, leave=self.left.append,
        )  # fmt: skip

    def pass_seconds(self, seconds, *, beats=True):
        for _ in range(seconds):
            self.clock.now += 1
            self.rounds += beats
            if self.watchdog.look():
                return


@pytest.fixture
def watched():
    return Watched()


def test_an_idle_engine_may_rest_for_ever(watched):
    watched.pass_seconds(10_000)
    assert watched.left == []


def test_a_step_over_its_limit_ends_the_process_after_everything_was_given_back(watched):
    watched.progress = Progress(at=1.0, busy=True)
    watched.pass_seconds(60)
    assert watched.left == []
    watched.pass_seconds(5)
    assert watched.given_back == [watched.progress]
    assert watched.left == [ENGINE_FAILED]
    assert watched.clock.now <= 62


def test_a_slow_answer_whose_tokens_come_is_left_alone(watched):
    for token in range(20):
        watched.progress = Progress(at=float(token), busy=True)
        watched.pass_seconds(59)
    assert watched.left == []


def test_a_crashed_engine_ends_the_process_at_the_next_look(watched):
    watched.progress = Progress(at=0.0, busy=True, crashed=True)
    watched.pass_seconds(1)
    assert watched.left == [ENGINE_FAILED]


def test_a_heartbeat_that_hangs_ends_the_process(watched):
    watched.pass_seconds(119, beats=False)
    assert watched.left == []
    watched.pass_seconds(10, beats=False)
    assert watched.left == [ENGINE_FAILED]


def test_a_database_that_does_not_answer_or_refuses_holds_nobody_up():
    never = threading.Event()
    began = time.monotonic()
    within(0.2, lambda: never.wait(30))
    within(0.2, lambda: 1 / 0)
    assert time.monotonic() - began < 5
    never.set()
