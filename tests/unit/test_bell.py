"""The bell rings in a thread of its own: whoever rings waits for nobody."""

import threading
import time

import pytest

from worker.bell import Bell


@pytest.fixture
def broker():
    return Broker()


class Broker:
    """Answers when it is let go."""

    def __init__(self):
        self.rings = []
        self.free = threading.Event()
        self.took = True

    def __call__(self, what):
        self.rings.append(list(what))
        self.free.wait(5)
        if isinstance(self.took, Exception):
            raise self.took
        return self.took


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_whoever_rings_does_not_wait_for_a_broker_that_hangs(broker):
    bell = Bell(broker)
    begun = time.monotonic()
    for number in range(100):
        bell(number)
    assert time.monotonic() - begun < 1
    broker.free.set()


def test_what_came_while_one_ring_was_on_its_way_is_rung_together(broker):
    bell = Bell(broker)
    bell("a")
    until(lambda: broker.rings)
    bell("b", "c")
    bell("d")
    broker.free.set()
    until(lambda: len(broker.rings) == 2)
    assert broker.rings == [["a"], ["b", "c", "d"]]


@pytest.mark.parametrize("took", [True, False])
def test_the_next_ring_tells_whether_the_broker_took_the_one_before(broker, took):
    broker.took = took
    bell = Bell(broker)
    bell(1)
    until(lambda: broker.rings)
    assert bell(2) is False, "it is still on its way"
    broker.free.set()
    until(lambda: len(broker.rings) == 2)
    until(lambda: bell._taken is took)
    assert bell(3) is took


def test_a_ring_that_fails_does_not_end_the_bell(broker):
    broker.free.set()
    broker.took = ValueError("Canary")
    bell = Bell(broker)
    bell(1)
    until(lambda: broker.rings)
    bell(2)
    until(lambda: len(broker.rings) == 2)
