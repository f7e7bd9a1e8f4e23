"""The way out: with grace, without it, and when the program does not end by itself."""

import threading

import pytest

from tests.unit.test_held import a_job
from worker.__main__ import _end_before_celery
from worker.drain import Drain
from worker.held import Held


class Way:
    def __init__(self, grace):
        self.now = 0.0
        self.held, self.given_back, self.left = Held(), threading.Event(), []
        self.gone = threading.Event()
        self.drain = Drain(
            held=self.held, give_back=self.give_back, grace_seconds=grace, clock=lambda: self.now, leave=self.leave,
        )  # fmt: skip

    def give_back(self):
        self.held.take_back()
        self.given_back.set()

    def leave(self, status):
        self.left.append(status)
        self.gone.set()


@pytest.fixture
def way():
    return Way(grace=100)


def test_an_idle_worker_ends_at_once_and_by_itself(way):
    way.drain.left.set()
    way.drain.begin()
    assert way.drain.begun.is_set()
    assert way.drain.ended.wait(5)
    assert (way.given_back.is_set(), way.left) == (False, [])


def test_what_runs_may_end_within_the_grace(way):
    entry = way.held.add(a_job())
    way.drain.begin()
    way.now = 99
    assert not way.drain.ended.wait(0.5)
    way.held.remove(entry)
    assert way.drain.ended.wait(5)
    assert not way.given_back.is_set()
    assert not entry.cancelled.is_set()


def test_what_is_not_done_after_the_grace_goes_back_and_is_stopped(way):
    entry = way.held.add(a_job())
    way.drain.begin()
    assert not way.drain.ended.wait(0.3)
    way.now = 100
    assert way.drain.ended.wait(5)
    assert way.given_back.is_set()
    assert entry.cancelled.is_set()


def test_a_second_request_ends_the_grace_but_an_echo_of_the_first_does_not(way):
    way.held.add(a_job())
    way.drain.begin()
    way.now = 1
    way.drain.begin()
    assert not way.drain.ended.wait(0.5)
    way.now = 2.5
    way.drain.begin()
    assert way.drain.ended.wait(5)
    assert way.given_back.is_set()


def test_a_process_that_leaves_for_a_reason_does_not_wait_for_its_program(way):
    way.drain.begin(69)
    assert way.gone.wait(2)
    assert way.left == [69]


def test_asked_twice_before_celery_listens_nobody_leaves_the_wait_for_what_is_held(way):
    """SystemExit ends the main thread's work once; raised again, it would end the wait for the jobs too."""
    way.held.add(a_job())
    with pytest.raises(SystemExit) as asked:
        _end_before_celery(way.drain)
    assert asked.value.code == 0
    way.now = 3
    _end_before_celery(way.drain)
    assert way.drain.ended.wait(5)
    assert way.given_back.is_set()
