"""When to give up."""

from __future__ import annotations

from worker.engine.reasoner import Finish, Interrupt


def test_without_a_deadline_it_goes_on():
    assert Interrupt().reason(1e9) is None


def test_the_deadline_itself_is_too_late():
    interrupt = Interrupt(deadline=10.0)
    assert interrupt.reason(9.99) is None
    assert interrupt.reason(10.0) is Finish.DEADLINE


def test_a_cancellation_goes_before_a_deadline():
    interrupt = Interrupt(deadline=10.0)
    interrupt.cancelled.set()
    assert interrupt.reason(11.0) is Finish.CANCELLED


def test_two_interrupts_share_nothing():
    one, other = Interrupt(), Interrupt()
    one.cancelled.set()
    assert other.reason(0.0) is None
