"""Who enters, who waits and who makes room; then whatever comes, in any order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engine.reasoner import Ask, Prepared
from worker.engine.scheduler import PATIENCE, Scheduler
from worker.jobs.request import Priority

STAT, URGENT, ROUTINE = Priority.STAT, Priority.URGENT, Priority.ROUTINE


def an_ask(priority=ROUTINE, samples=1, most_beside=None):
    return Ask(prepared=Prepared(samples=samples), priority=priority, most_beside=most_beside)


def stepped(scheduler):
    """What the loop does with a plan: whoever enters has begun."""
    plan = scheduler.schedule()
    for ask in plan.enter:
        ask.begun = True
    return plan


def full(rows, *asks, can_pause=True, stat_alone=False):
    """A scheduler in which these run."""
    scheduler = Scheduler(rows, can_pause=can_pause, stat_alone=stat_alone)
    for ask in asks:
        scheduler.add(ask)
    stepped(scheduler)
    assert scheduler.running == list(asks)
    return scheduler


def test_asks_enter_in_the_order_in_which_they_came_as_rows_become_free():
    scheduler = Scheduler(2, can_pause=True)
    asks = [an_ask() for _ in range(4)]
    for ask in asks:
        scheduler.add(ask)
    assert stepped(scheduler).enter == (asks[0], asks[1])
    assert stepped(scheduler).enter == ()
    scheduler.end(asks[0])
    assert stepped(scheduler).enter == (asks[2],)


def test_the_more_urgent_enters_first():
    running = an_ask()
    scheduler = full(1, running, can_pause=False)
    routine, urgent, stat = an_ask(), an_ask(URGENT), an_ask(STAT)
    for ask in (routine, urgent, stat):
        scheduler.add(ask)
    scheduler.end(running)
    order = []
    while not scheduler.is_idle:
        [entered] = stepped(scheduler).enter
        order.append(entered)
        scheduler.end(entered)
    assert order == [stat, urgent, routine]


def test_stat_enters_a_full_engine_at_once_and_the_youngest_routine_row_makes_room():
    old, young, urgent = an_ask(), an_ask(), an_ask(URGENT)
    scheduler = full(3, urgent, old, young)
    stat = an_ask(STAT)
    scheduler.add(stat)
    plan = stepped(scheduler)
    assert (plan.enter, plan.pause) == ((stat,), (young,))
    scheduler.end(urgent)
    assert stepped(scheduler).enter == (young,)


def test_where_every_row_costs_stat_is_written_with_no_other_beside_it_and_all_go_on_after_it():
    running = an_ask(URGENT), an_ask()
    scheduler = full(4, *running, stat_alone=True)
    stat, second, routine = an_ask(STAT), an_ask(STAT), an_ask()
    scheduler.add(stat)
    plan = stepped(scheduler)
    assert (plan.enter, set(plan.pause)) == ((stat,), set(running))
    scheduler.add(routine)
    scheduler.add(second)
    assert stepped(scheduler).enter == (second,), "two that are STAT go side by side"
    scheduler.end(stat)
    assert stepped(scheduler).enter == ()
    scheduler.end(second)
    assert stepped(scheduler).enter == (*running, routine)


def test_who_has_stood_aside_for_stat_long_enough_goes_on_beside_it_and_is_not_put_aside_again():
    routine = an_ask()
    scheduler = full(4, routine, stat_alone=True)
    scheduler.add(an_ask(STAT))
    assert stepped(scheduler).pause == (routine,)
    steps = 1
    while routine not in scheduler.running:
        stepped(scheduler)
        steps += 1
    assert steps == PATIENCE + 1
    scheduler.add(an_ask(STAT))
    assert stepped(scheduler).pause == ()


def test_what_may_not_be_put_aside_is_waited_for_by_stat_alone_too():
    suspect = an_ask(most_beside=0)
    scheduler = full(4, suspect, stat_alone=True)
    stat = an_ask(STAT)
    scheduler.add(stat)
    assert stepped(scheduler).enter == ()
    scheduler.end(suspect)
    assert stepped(scheduler).enter == (stat,)


def test_urgent_waits_for_a_row():
    scheduler = full(1, an_ask())
    scheduler.add(an_ask(URGENT))
    assert stepped(scheduler).pause == ()


def test_stat_waits_where_stat_runs_or_nothing_can_be_paused():
    for scheduler in (full(1, an_ask(STAT)), full(1, an_ask(), can_pause=False)):
        scheduler.add(an_ask(STAT))
        plan = stepped(scheduler)
        assert (plan.enter, plan.pause) == ((), ())


def test_a_paused_ask_has_its_old_place_in_the_line():
    first = an_ask()
    scheduler = full(1, first)
    later, stat = an_ask(), an_ask(STAT)
    scheduler.add(later)
    scheduler.add(stat)
    assert stepped(scheduler).pause == (first,)
    scheduler.end(stat)
    assert stepped(scheduler).enter == (first,)


def test_one_that_wants_several_rows_waits_for_them_and_is_not_overtaken():
    running = an_ask(), an_ask()
    scheduler = full(3, *running)
    wide, behind = an_ask(samples=2), an_ask()
    scheduler.add(wide)
    scheduler.add(behind)
    assert stepped(scheduler).enter == ()
    scheduler.end(running[0])
    assert stepped(scheduler).enter == (wide,)


def test_rows_that_samples_have_left_are_taken_by_the_next():
    wide, behind = an_ask(samples=2), an_ask()
    scheduler = full(2, wide)
    scheduler.add(behind)
    assert stepped(scheduler).enter == ()
    wide.rows -= 1
    assert stepped(scheduler).enter == (behind,)


def test_one_that_must_be_alone_waits_for_all_others_and_holds_back_those_behind():
    before = an_ask()
    scheduler = full(4, before)
    suspect, behind = an_ask(most_beside=0), an_ask()
    scheduler.add(suspect)
    scheduler.add(behind)
    assert stepped(scheduler).enter == ()
    scheduler.end(before)
    assert stepped(scheduler).enter == (suspect,)
    scheduler.add(an_ask(STAT))
    assert stepped(scheduler).enter == (), "not even STAT shares a step with a suspect, or puts it aside"


def test_what_is_read_again_has_its_old_place_and_fewer_beside_it():
    asks = [an_ask() for _ in range(4)]
    scheduler = full(4, *asks)
    scheduler.again(asks[2], most_beside=1)
    assert stepped(scheduler).enter == ()
    scheduler.end(asks[0])
    scheduler.end(asks[1])
    assert stepped(scheduler).enter == (asks[2],)
    scheduler.add(an_ask())
    assert stepped(scheduler).enter == ()


def test_what_can_never_enter_does_not_fit():
    scheduler = Scheduler(4, can_pause=True)
    assert [scheduler.fits(samples) for samples in (0, 1, 4, 5)] == [False, True, True, False]


ASKS = st.builds(
    an_ask,
    st.sampled_from([STAT, URGENT, ROUTINE, ROUTINE]),
    st.integers(1, 3),
    st.sampled_from([None, None, None, 0, 1]),
)
EVENTS = st.lists(
    st.one_of(ASKS, st.tuples(st.sampled_from(["end", "sample", "again"]), st.integers(0, 9))), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(rows=st.integers(3, 6), can_pause=st.booleans(), stat_alone=st.booleans(), events=EVENTS)
def test_whatever_comes_rows_hold_nobody_is_lost_and_everybody_ends(rows, can_pause, stat_alone, events):
    scheduler = Scheduler(rows, can_pause=can_pause, stat_alone=can_pause and stat_alone)
    open_asks = set()
    for event in events:
        if isinstance(event, Ask):
            scheduler.add(event)
            open_asks.add(event)
        elif scheduler.running:
            happen(scheduler, open_asks, *event)
        check_step(scheduler, open_asks)
    for _ in range(3 * len(events)):
        if scheduler.running:
            happen(scheduler, open_asks, "end", 0)
        check_step(scheduler, open_asks)
    assert scheduler.is_idle
    assert not open_asks


def happen(scheduler, open_asks, what, number):
    ask = scheduler.running[number % len(scheduler.running)]
    if what == "sample" and ask.rows > 1:
        ask.rows -= 1
    elif what == "again" and not ask.again:
        scheduler.again(ask, most_beside=0)
    else:
        scheduler.end(ask)
        open_asks.discard(ask)


def check_step(scheduler, open_asks):
    before = list(scheduler.running)
    plan = stepped(scheduler)
    running = scheduler.running
    total = sum(ask.rows for ask in running)
    assert total <= scheduler.rows
    assert all(total - ask.rows <= ask.most_beside for ask in running if ask.most_beside is not None)
    assert sorted(map(id, [*running, *scheduler.waiting])) == sorted(map(id, open_asks))
    assert set(plan.pause) <= set(before)
    assert not set(plan.pause) & set(running)
    assert all(ask.priority is not STAT and ask.most_beside != 0 for ask in plan.pause)
    assert not scheduler.stat_alone or len({ask.priority is STAT for ask in running}) < 2
    assert not plan.pause or any(ask.priority is STAT for ask in plan.enter)
    if open_asks:
        assert running, "somebody always moves"
    levels = [ask.priority.level for ask in scheduler.waiting]
    assert levels == sorted(levels)
