"""The real worker program, whose answers are as long as a benchmark says, and which says what it spends.

In: PATHLANE_* as ever; BENCH_LENGTHS, a JSON file: question -> tokens; BENCH_NOTES, a file; BENCH_PACE. Out: what
`python -m worker` does; and in that file, ten times a second, how many steps the model has made and the CPU
seconds that its readers have spent on each stage. All else is the product's.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import wraps
from pathlib import Path

import worker.__main__ as program
from tests.benchmarks.flight import Counted
from tests.benchmarks.paced import paced
from worker.engine.loop import EngineLoop
from worker.store.jobs import Jobs

LENGTHS = json.loads(Path(os.environ["BENCH_LENGTHS"]).read_text())
NOTES = Path(os.environ["BENCH_NOTES"])
PACE = [float(milliseconds) for milliseconds in os.environ["BENCH_PACE"].split()]
SECONDS = 0.1

spent = Counter()
lock = threading.Lock()


class Forced(EngineLoop):
    def prepare(self, prompt):
        length = LENGTHS[prompt.question]
        return super().prepare(replace(prompt, max_new_tokens=length, min_new_tokens=length))


def accounted(stage, do):
    """The CPU time of the thread that does it."""

    @wraps(do)
    def done(*arguments, **named):
        began = time.thread_time()
        try:
            return do(*arguments, **named)
        finally:
            with lock:
                spent[stage] += time.thread_time() - began

    return done


def note(reasoner):
    draft = NOTES.with_suffix(".draft")
    while True:
        draft.write_text(json.dumps({"steps": reasoner.steps, "stages": spent}))
        draft.replace(NOTES)
        time.sleep(SECONDS)


def main():
    make = program._reasoner

    def counted(settings):
        reasoner = Counted(paced(make(settings), PACE))
        reasoner.prepare = accounted("prepare", reasoner.prepare)
        threading.Thread(target=note, args=(reasoner,), daemon=True).start()
        return reasoner

    Jobs.claim = accounted("claim", Jobs.claim)
    Jobs.finish = accounted("finish", Jobs.finish)
    program.open_patches = accounted("open", program.open_patches)
    program.ring_deliveries = accounted("ring", program.ring_deliveries)
    program._reasoner, program.EngineLoop = counted, Forced
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
