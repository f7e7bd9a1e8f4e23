"""A worker as the program makes it, around a reasoner that does what a question tells it to."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from sqlalchemy import update

from tests.builders import a_request
from tests.reasoners import Whole
from worker.drain import Drain
from worker.engine.loop import EngineLoop
from worker.engine.reasoner import Completion, Finish, Identity
from worker.engine.slots import Slots
from worker.errors import EngineStopped, GpuOutOfMemory
from worker.pipeline import Pipeline
from worker.service import Bells, Rhythm, Service
from worker.store.jobs import Jobs
from worker.store.jobs import jobs as table
from worker.store.presence import Presence, Workers
from worker.store.session import clock
from worker.watchdog import Watchdog

IDENTITY = Identity(
    model="obedient", weights_digest="sha256:00", license="Apache-2.0", engine="obedient", dtype="float32",
    device="cpu", max_pixels=784, decoding={}, prompt_version="1", software={},
)  # fmt: skip


class Obedient(Whole):
    """A reasoner. `hang` never returns, `crash` ends the thread, `lost` loses the device, `memory` has too little."""

    def __init__(self):
        self.let_go = threading.Event()
        self.reading = threading.Event()
        self.steps = []
        self.tokens = 0

    def load(self, device):
        return IDENTITY

    def read(self, prompts, interrupts, on_step=lambda: None):
        questions = [prompt.question for prompt in prompts]
        self.steps.append(questions)
        self.reading.set()
        if "hang" in questions:
            self.let_go.wait(60)
        if "crash" in questions:
            raise SystemExit
        if "lost" in questions:
            raise EngineStopped
        return [self._one(*asked, on_step, len(prompts)) for asked in zip(questions, interrupts, strict=True)]

    def _one(self, question, interrupt, on_step, rows):
        if question == "memory":
            return GpuOutOfMemory()
        words, finish = ["<think>brown"], Finish.STOP
        while question == "long":
            time.sleep(0.01)
            self.tokens += 1
            words.append("chromogen")
            on_step()
            if finish := interrupt.reason(time.monotonic()):
                break
        else:
            words.append("</think><answer>DAB</answer>")
        return Completion(
            text=" ".join(words),
            finish=finish,
            prompt_tokens=1,
            completion_tokens=len(words),
            seconds=0.1,
            rows=rows,
        )


class Worker:
    """One process: what it left with stands in `left`."""

    def __init__(self, database, folder, name="w1", *, slots=3, grace=60.0, step_seconds=1.0):
        self.left, self.gone, self.rung, self._threads = [], threading.Event(), [], []
        self.reasoner = Obedient()
        self.engine = EngineLoop(self.reasoner, rows=slots)
        identity = self.engine.start("cpu")
        limits = SimpleNamespace(max_new_tokens=8, answer_seconds=60)
        presence = Presence(id=name, host="h", pid=1, device="cpu", model="m", slots=slots, running=0)
        self.jobs = Jobs(database)
        self.service = Service(
            jobs=self.jobs, workers=Workers(database), slots=Slots(folder / name, "cpu", slots), presence=presence,
            pipeline=Pipeline(open_patches=lambda _: (), engine=self.engine, identity=identity, limits=limits),
            bells=Bells(read=self._ring, deliver=lambda _: None), rhythm=Rhythm(lease=3, sweep=60, patience=3600),
        )  # fmt: skip
        self.watchdog = Watchdog(
            progress=self.engine.progress, rounds=lambda: self.service.rounds, step_seconds=step_seconds,
            give_back=lambda progress: self.service.give_back(progress.in_step), round_seconds=60, leave=self._leave,
        )  # fmt: skip
        self.drain = Drain(
            held=self.service.held, give_back=self.service.give_back, grace_seconds=grace, leave=self._leave,
            begun=self.service.draining,
        )  # fmt: skip
        self.service.quarantine = lambda: self.drain.begin(69)

    def start(self):
        self.service.start()
        self.watchdog.start()
        return self

    def hears(self, times=1):
        threads = [threading.Thread(target=self.service.hear, daemon=True) for _ in range(times)]
        for thread in threads:
            thread.start()
        self._threads += threads
        return threads

    def close(self):
        self.service.draining.set()
        self.reasoner.let_go.set()
        self.watchdog.stop()
        self.drain.left.set()
        self.service.stop()
        self.engine.close(timeout=5)
        for thread in self._threads:
            thread.join(10)

    def _ring(self, times):
        self.rung.append(times)
        return True

    def _leave(self, status):
        self.left.append(status)
        self.gone.set()


def submit(database, question, **fields):
    return Jobs(database).submit(a_request(question=question, **fields), submitter="lab").job.id


def hurry(database, **values):
    """What waits for its backoff waits no longer."""
    with database.write() as connection:
        connection.execute(update(table).values(not_before=clock(), **values))


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def main():
    """The real worker program around such a reasoner, with cases that need no pictures."""
    import sys

    import worker.__main__ as program

    program._reasoner = lambda settings: Obedient()
    program.open_patches = lambda references, **_: ()
    sys.exit(program.main())


if __name__ == "__main__":
    main()
