"""The real worker program, whose answers are as long as a benchmark says.

In: PATHLANE_* as ever; BENCH_LENGTHS, a JSON file: question -> tokens; BENCH_STEPS, a file. Out: what
`python -m worker` does, and in that file how many steps the model has made. All else is the product's.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import worker.__main__ as program
from tests.benchmarks.flight import Counted
from worker.engine.loop import EngineLoop

LENGTHS = json.loads(Path(os.environ["BENCH_LENGTHS"]).read_text())
STEPS = Path(os.environ["BENCH_STEPS"])
SECONDS = 0.1


class Forced(EngineLoop):
    def submit(self, prompt, *arguments, **named):
        length = LENGTHS[prompt.question]
        forced = replace(prompt, max_new_tokens=length, min_new_tokens=length)
        return super().submit(forced, *arguments, **named)


def note(reasoner):
    while True:
        STEPS.write_text(str(reasoner.steps))
        time.sleep(SECONDS)


def main():
    make = program._reasoner

    def counted(settings):
        reasoner = Counted(make(settings))
        threading.Thread(target=note, args=(reasoner,), daemon=True).start()
        return reasoner

    program._reasoner, program.EngineLoop = counted, Forced
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
