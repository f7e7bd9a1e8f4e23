"""The real worker program with a model that answers after a few milliseconds, and with places to die at.

In: PATHLANE_* as ever, and FAULT_* (below). Out: what `python -m worker` does. Everything but the model is the
product's: the program's own wiring, store, slots, engine loop, pictures, Celery app.

FAULT_SECONDS: how long one step of the model takes. FAULT_HOLDERS: a file that says who was in the model when.
FAULT_POINT: `after_claim`, `before_commit` or `after_commit`, where the process dies with FAULT_CHANCE.
FAULT_CLOCK: by how many seconds its clock is off. A question `poison` kills the process that reads it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import time_machine

import worker.__main__ as program
from tests.reasoners import Whole
from worker.engine.reasoner import Completion, Finish, Identity
from worker.store import jobs
from worker.store.jobs import Jobs

SECONDS = float(os.environ.get("FAULT_SECONDS", "0.005"))
POINT = os.environ.get("FAULT_POINT", "")
CHANCE = float(os.environ.get("FAULT_CHANCE", "0"))
HOLDERS = os.open(os.environ["FAULT_HOLDERS"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
CLOCK = float(os.environ.get("FAULT_CLOCK", "0"))
POISON = "poison"


class Quick(Whole):
    """A reasoner: sleeps, and answers every question alike."""

    def load(self, device):
        return Identity(
            model="quick", weights_digest="sha256:00", license="Apache-2.0", engine="quick", dtype="float32",
            device="cpu", max_pixels=784, decoding={}, prompt_version="1", software={}, demonstration=True,
        )  # fmt: skip

    def read(self, prompts, interrupts, on_step=lambda: None):
        note(len(prompts))
        if any(prompt.question == POISON for prompt in prompts):
            die()
        time.sleep(SECONDS)
        on_step()
        note(-len(prompts))
        return [
            Completion(
                text="<think>quick</think><answer>yes</answer>", finish=Finish.STOP, prompt_tokens=1,
                completion_tokens=1, seconds=SECONDS, rows=len(prompts),
            )
            for _ in prompts
        ]  # fmt: skip


def note(what):
    """So many more or fewer in the model, or `dies`."""
    os.write(HOLDERS, f"{os.getpid()} {time.monotonic()} {what}\n".encode())


def die():
    note("dies")
    os.kill(os.getpid(), signal.SIGKILL)


def perhaps(point):
    if point == POINT and random.random() < CHANCE:
        die()


class Mortal(Jobs):
    """The store's jobs, with places to die at."""

    def claim(self, **arguments):
        job = super().claim(**arguments)
        if job is not None:
            perhaps("after_claim")
        return job

    def finish(self, job, reading):
        deliveries = super().finish(job, reading)
        perhaps("after_commit")
        return deliveries


def main():
    tell = jobs.outbox.tell

    def telling(*arguments, **named):
        told = tell(*arguments, **named)
        perhaps("before_commit")
        return told

    jobs.outbox.tell = telling  # the last thing inside the transaction that ends a job
    program.Jobs = Mortal
    program._reasoner = lambda settings: Quick()
    with (
        time_machine.travel(datetime.now(UTC) + timedelta(seconds=CLOCK), tick=True)
        if CLOCK
        else nullcontext()
    ):
        return program.main()


if __name__ == "__main__":
    sys.exit(main())
