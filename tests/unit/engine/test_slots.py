"""The cap, held by the kernel."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from worker.engine.slots import Slots
from worker.errors import SlotTimeout

HOLD = """
import sys, time
from pathlib import Path
from worker.engine.slots import Slots
with Slots(Path(sys.argv[1]), "cpu", 1).hold(timeout_seconds=5):
    print("held", flush=True)
    time.sleep(60)
"""


def test_no_more_than_the_cap_are_held_at_once(tmp_path):
    slots = Slots(tmp_path, "GPU-1", 3)
    most, now, lock = 0, 0, threading.Lock()

    def use():
        nonlocal most, now
        with slots.hold(timeout_seconds=10):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.01)
            with lock:
                now -= 1

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert slots.free_here == 3


def test_who_waits_too_long_is_told(tmp_path):
    slots = Slots(tmp_path, "cpu", 1)
    with slots.hold(timeout_seconds=1), pytest.raises(SlotTimeout), slots.hold(timeout_seconds=0.05):
        pass


def test_devices_do_not_share_slots(tmp_path):
    with (
        Slots(tmp_path, "GPU-1", 1).hold(timeout_seconds=0),
        Slots(tmp_path, "GPU-2", 1).hold(timeout_seconds=0),
    ):
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("paused", [False, True])
def test_another_process_holds_its_slot_until_it_dies_even_when_it_is_paused(tmp_path, paused):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    here = Slots(tmp_path, "cpu", 1)
    try:
        if paused:
            os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(SlotTimeout), here.hold(timeout_seconds=0.2):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with here.hold(timeout_seconds=0.5) as slot:
        assert slot.number == 0


def test_another_slot_is_shared_only_while_all_are_held_here(tmp_path):
    slots, elsewhere = Slots(tmp_path, "GPU-1", 2), Slots(tmp_path, "GPU-1", 2)
    with slots.hold(timeout_seconds=0):
        with (
            elsewhere.hold(timeout_seconds=0),
            pytest.raises(SlotTimeout),
            slots.hold(timeout_seconds=0.1, share_after=0),
        ):
            pass
        with slots.hold(timeout_seconds=0), slots.hold(timeout_seconds=1, share_after=0) as shared:
            assert shared.is_shared


def test_who_shares_a_slot_has_the_next_that_is_left_here_before_anybody_else(tmp_path):
    slots, elsewhere = Slots(tmp_path, "GPU-1", 1), Slots(tmp_path, "GPU-1", 1)
    with ExitStack() as first, ExitStack() as second:
        number = first.enter_context(slots.hold(timeout_seconds=0)).number
        shared = second.enter_context(slots.hold(timeout_seconds=1, share_after=0))
        first.close()
        assert (shared.number, shared.is_shared) == (number, False)
        with pytest.raises(SlotTimeout), elsewhere.hold(timeout_seconds=0):
            pass
        second.close()
        with elsewhere.hold(timeout_seconds=0):
            assert slots.free_here == 1


def test_no_more_share_than_there_are_slots(tmp_path):
    slots = Slots(tmp_path, "GPU-1", 1)
    with (
        slots.hold(timeout_seconds=0),
        slots.hold(timeout_seconds=1, share_after=0),
        pytest.raises(SlotTimeout),
        slots.hold(timeout_seconds=0.1, share_after=0),
    ):
        pass


def test_one_in_a_time_looks_whether_it_may_share(tmp_path):
    """Readers that find nothing urgent come back for ever: together they ask no more often than one would."""
    slots, entered = Slots(tmp_path, "GPU-1", 3), []

    def share():
        with slots.hold(timeout_seconds=30, share_after=0.3) as slot:
            assert slot.is_shared
            entered.append(time.monotonic())

    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(slots.hold(timeout_seconds=0))
        readers = [threading.Thread(target=share) for _ in range(3)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    first, second, third = sorted(entered)
    assert second - first > 0.29
    assert third - second > 0.29


def never():
    return False


def test_a_place_outside_is_given_only_while_all_are_held_here_and_only_so_many(tmp_path):
    slots, elsewhere = Slots(tmp_path, "GPU-1", 2, ahead=1), Slots(tmp_path, "GPU-1", 2)
    with slots.hold(timeout_seconds=0, ahead=True) as first:
        assert first.number == 0
        with (
            elsewhere.hold(timeout_seconds=0),
            pytest.raises(SlotTimeout),
            slots.hold(timeout_seconds=0.1, ahead=True),
        ):
            pass
        with slots.hold(timeout_seconds=0), slots.hold(timeout_seconds=0, ahead=True) as outside:
            assert (outside.is_ahead, outside.is_shared, outside.number) == (True, False, None)
            with pytest.raises(SlotTimeout), slots.hold(timeout_seconds=0.1, ahead=True):
                pass


def test_who_stands_outside_enters_with_the_next_slot_that_is_left_here_before_anybody_else(tmp_path):
    slots, elsewhere = Slots(tmp_path, "GPU-1", 1, ahead=1), Slots(tmp_path, "GPU-1", 1)
    entered = threading.Event()
    with ExitStack() as first, ExitStack() as second:
        number = first.enter_context(slots.hold(timeout_seconds=0)).number
        outside = second.enter_context(slots.hold(timeout_seconds=0, ahead=True))
        waiting = threading.Thread(
            target=lambda: slots.enter(outside, share=False, stop=never) or entered.set()
        )
        waiting.start()
        assert not entered.wait(0.1)
        first.close()
        assert entered.wait(10)
        assert (outside.number, outside.is_ahead) == (number, False)
        with pytest.raises(SlotTimeout), elsewhere.hold(timeout_seconds=0):
            pass
        second.close()
        waiting.join()
        with elsewhere.hold(timeout_seconds=0):
            assert slots.free_here == 1


def test_when_one_has_entered_another_may_stand_outside(tmp_path):
    slots = Slots(tmp_path, "GPU-1", 1, ahead=1)
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        first.enter_context(slots.hold(timeout_seconds=0))
        outside = second.enter_context(slots.hold(timeout_seconds=0, ahead=True))
        found = []
        waiting = threading.Thread(
            target=lambda: found.append(third.enter_context(slots.hold(timeout_seconds=30, ahead=True)))
        )
        waiting.start()
        first.close()
        slots.enter(outside, share=False, stop=never)
        waiting.join(10)
        assert (outside.number, found[0].is_ahead) == (0, True)


def test_who_stands_outside_may_share_at_once(tmp_path):
    slots = Slots(tmp_path, "GPU-1", 1, ahead=1)
    with slots.hold(timeout_seconds=0), slots.hold(timeout_seconds=0, ahead=True) as outside:
        slots.enter(outside, share=True, stop=never)
        assert outside.is_shared


def test_who_stands_outside_and_should_stop_never_enters_and_makes_room(tmp_path):
    slots = Slots(tmp_path, "GPU-1", 1, ahead=1)
    with slots.hold(timeout_seconds=0):
        with (
            pytest.raises(SlotTimeout),
            slots.hold(timeout_seconds=0, ahead=True) as outside,
        ):
            slots.enter(outside, share=False, stop=lambda: True)
        assert outside.number is None
        with slots.hold(timeout_seconds=0, ahead=True) as another:
            assert another.is_ahead


def test_a_slot_may_be_left_before_its_block_ends(tmp_path):
    slots, elsewhere = Slots(tmp_path, "GPU-1", 1), Slots(tmp_path, "GPU-1", 1)
    with slots.hold(timeout_seconds=0) as slot:
        slots.leave(slot)
        with elsewhere.hold(timeout_seconds=0):
            assert slots.free_here == 1


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_readers_that_come_and_go_in_every_way_never_exceed_the_cap(tmp_path, ahead):
    slots = Slots(tmp_path, "GPU-1", 2, ahead=ahead)
    inside, doubled, entered, lock = set(), [], 0, threading.Lock()

    def use(number):
        nonlocal entered
        for _ in range(20):
            with slots.hold(timeout_seconds=30, share_after=0.002, ahead=True) as slot:
                slots.enter(slot, share=number % 5 == 0, stop=never)
                with lock:
                    entered += 1
                    inside.add(slot)
                    own = [one.number for one in inside if not one.is_shared]
                    doubled.extend([own] if len(own) > len(set(own)) else [])
                time.sleep(0.001)
                with lock:
                    inside.discard(slot)
                if number % 2:
                    slots.leave(slot)

    readers = [threading.Thread(target=use, args=(number,)) for number in range(12)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert (doubled, entered, slots.free_here) == ([], 240, 2)
