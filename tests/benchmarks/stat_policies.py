"""How soon a STAT case enters a full engine: by its place in the line only, by a row kept for it, by pausing a row or all.

    python -m tests.benchmarks.stat_policies

The product's scheduler, with steps that take no time: one token a row and step, a backlog of routine cases that never
ends, answers of 16 to 2048 tokens (log-normal, mean about 300), STAT cases as a Poisson process of bursts of one to
three. Waits are in steps; the seed is fixed, so the table is the same on every machine.
"""

from __future__ import annotations

import random

from worker.engine.reasoner import Ask, Prepared
from worker.engine.scheduler import Scheduler
from worker.jobs.request import Priority

STEPS = 60_000


class Kept(Scheduler):
    """One row is for STAT only."""

    def _victims(self, ask, entered):
        if ask.priority is not Priority.STAT:
            routine = sum(other.rows for other in self.running if other.priority is not Priority.STAT)
            if routine + ask.rows > self.rows - 1:
                return None
        return super()._victims(ask, entered)


POLICIES = {
    "place in the line": lambda rows: Scheduler(rows, can_pause=False),
    "a kept row": lambda rows: Kept(rows, can_pause=False),
    "pausing": lambda rows: Scheduler(rows, can_pause=True),
    "alone": lambda rows: Scheduler(rows, can_pause=True, stat_alone=True),
}


def length(chance):
    return min(2048, max(16, int(chance.lognormvariate(5.4, 0.8))))


def simulate(policy, rows, share, *, seed=1, steps=STEPS):
    """(waits of STAT cases in steps, busy rows, pauses a STAT case) of one run."""
    chance, scheduler = random.Random(seed), POLICIES[policy](rows)
    bursts_per_step = share * rows / 300 / 2
    lengths = random.Random(seed + 1)
    left, arrived, waits, busy, pauses = {}, {}, [], 0, 0

    def add(priority, now):
        ask = Ask(prepared=Prepared(), priority=priority)
        left[ask], arrived[ask] = length(lengths), now
        scheduler.add(ask)

    for now in range(steps):
        if chance.random() < bursts_per_step:
            for _ in range(chance.randint(1, 3)):
                add(Priority.STAT, now)
        while sum(ask.priority is Priority.ROUTINE for ask in scheduler.waiting) < rows:
            add(Priority.ROUTINE, now)
        plan = scheduler.schedule()
        pauses += len(plan.pause)
        waits += [now - arrived[ask] for ask in plan.enter if ask.priority is Priority.STAT]
        busy += len(scheduler.running)
        for ask in list(scheduler.running):
            left[ask] -= 1
            if not left[ask]:
                scheduler.end(ask)
                del left[ask], arrived[ask]
    return waits, busy / steps / rows, pauses / max(1, len(waits))


def main():
    print(
        "| rows | STAT share | policy | STAT cases | wait p50 | p95 | most | busy rows | pauses a STAT case |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for rows in (4, 8, 32):
        for share in (0.02, 0.10, 0.25):
            for policy in POLICIES:
                waits, busy, pauses = simulate(policy, rows, share)
                waits.sort()
                p50, p95 = waits[len(waits) // 2], waits[int(len(waits) * 0.95)]
                print(f"| {rows} | {share:.0%} | {policy} | {len(waits)} | {p50} | {p95} | {waits[-1]} "
                      f"| {busy:.1%} | {pauses:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()
