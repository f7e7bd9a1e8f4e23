"""What fakes of a reasoner have in common, and ways to ask: a loop in one call, a real reasoner without a loop."""

from __future__ import annotations

from concurrent.futures import Future

from worker.engine.reasoner import Ask, Interrupt, Prepared
from worker.engine.scheduler import Scheduler
from worker.errors import PathlaneError, PromptUnreadable


class Whole:
    """A reasoner whose step is a whole answer: subclasses say `load` and `read(prompts, interrupts, on_step)`."""

    rows = 256
    can_pause = False
    every_row_costs = False

    def prepare(self, prompt):
        return Prepared(payload=prompt)

    def step(self, enter, pause, on_move=lambda: None):
        prompts, interrupts = [ask.prepared.payload for ask in enter], [ask.interrupt for ask in enter]
        return list(zip(enter, self.read(prompts, interrupts, on_move), strict=True))

    def clear(self):
        pass


def submit(loop, prompt, interrupt, **how):
    """Prepare and ask; whatever is wrong with the prompt, the future says."""
    try:
        prepared = loop.prepare(prompt)
    except PathlaneError as error:
        future = Future()
        future.set_exception(error)
        return future
    return loop.ask(prepared, interrupt, **how)


def read(reasoner, prompts, interrupts=None, *, rows=None, on_move=lambda: None):
    """One result a prompt, in their order."""
    results, asks = {}, []
    scheduler = Scheduler(rows or reasoner.rows, can_pause=reasoner.can_pause)
    for number, prompt in enumerate(prompts):
        try:
            prepared = reasoner.prepare(prompt)
        except PathlaneError as error:
            results[number] = error
        except Exception:  # noqa: BLE001  as the loop does
            results[number] = PromptUnreadable()
        else:
            asks.append(
                (number, Ask(prepared=prepared, interrupt=(interrupts or {}).get(number, Interrupt())))
            )
            scheduler.add(asks[-1][1])
    numbers = {ask: number for number, ask in asks}
    while not scheduler.is_idle:
        plan = scheduler.schedule()
        for ask in plan.enter:
            ask.begun = True
        for ask, result in reasoner.step(plan.enter, plan.pause, on_move):
            scheduler.end(ask)
            results[numbers[ask]] = result
    return [results[number] for number in range(len(prompts))]
