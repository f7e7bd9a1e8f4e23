"""The bell rings for others, and nobody waits for it."""

from __future__ import annotations

import threading

import pytest

from integrations.bell import Bell


@pytest.mark.parametrize(
    ("nothing", "wanted", "together"),
    [(0, [1, 2, 3], [1, 5]), ((), [("a",), ("b",), ("c",)], [("a",), ("b", "c")])],
)
def test_nobody_waits_for_a_ring_and_what_came_meanwhile_is_rung_together(nothing, wanted, together):
    begun, may_end, done = (threading.Event() for _ in range(3))
    rung = []

    def ring(what):
        rung.append(what)
        begun.set()
        may_end.wait(10)
        if len(rung) == len(together):
            done.set()

    bell = Bell(ring, nothing)
    bell(wanted[0])
    assert begun.wait(10)
    for one in wanted[1:]:
        bell(one)
    assert rung == together[:1]
    may_end.set()
    assert done.wait(10)
    assert rung == together


def test_nothing_is_not_rung_for():
    rung, done = [], threading.Event()
    bell = Bell(lambda ids: (rung.append(ids), done.set()), ())
    bell(())
    bell(("a",))
    assert done.wait(10)
    assert rung == [("a",)]
