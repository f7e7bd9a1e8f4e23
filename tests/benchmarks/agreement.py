"""How often the in-flight engine writes, token for token, what batch-1 `generate` writes.

    python -m tests.benchmarks.agreement [--model demo --license ''] [--device cpu] [--requests 64]

Drawn tiles of mixed sizes, both styles, with and without options; answers as they end by themselves, and forced to 16
to 256 tokens. In float32 all must agree (a test holds that); in bfloat16 another shape of a step rounds otherwise.
"""

from __future__ import annotations

import argparse
import random

import numpy as np
from PIL import Image

from tests.reasoners import read
from worker.engine.models.demo.tiles import Stain, draw_tile
from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.models.loading import Source
from worker.engine.models.reference import ReferenceReasoner
from worker.engine.reasoner import Prompt
from worker.jobs.request import Style

STAINS = tuple(stain.value for stain in Stain)
SIZES = ((224, 224), (168, 256), (112, 112), (336, 140))


def prompts(count, *, forced):
    drawn, lengths = np.random.default_rng(3), random.Random(3)
    for number in range(count):
        length = lengths.randint(16, 256)
        yield Prompt(
            images=(Image.fromarray(draw_tile(drawn, *SIZES[number % len(SIZES)]).pixels),),
            question="Which stain is shown?",
            options=STAINS if number % 2 else (),
            style=list(Style)[number // 2 % 2],
            max_new_tokens=length if forced else 256,
            min_new_tokens=length if forced else 0,
        )


def saying_ids(model):
    model.text_of = list
    return model


def agreement(source, device, rows, asked):
    """How many answers agree, and for the others, where they first differ."""
    reference = ReferenceReasoner(source)
    in_flight = InFlightReasoner(source, rows=rows, max_new_tokens=256)
    reference.load(device)
    in_flight.load(device)
    saying_ids(reference._model)
    saying_ids(in_flight._rows._qwen)
    same, differ = 0, []
    for one, other in zip(read(reference, asked), read(in_flight, asked), strict=True):
        pairs = zip(one.text, other.text, strict=False)
        where = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
        if where is None and len(one.text) == len(other.text):
            same += 1
        else:
            differ.append(where)
    return same, differ


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo")
    parser.add_argument("--license", default="")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--requests", type=int, default=64)
    options = parser.parse_args()
    print("| dtype | rows | answers | token for token | first difference at token |")
    print("|---|---|---|---|---|")
    for dtype in ("float32", "bfloat16"):
        source = Source(
            model=options.model, license_accepted=options.license, max_pixels=1_003_520, dtype=dtype
        )
        for rows in (1, 8, 32):
            for forced in (False, True):
                asked = list(prompts(options.requests, forced=forced))
                same, differ = agreement(source, options.device, rows, asked)
                kind, first = ("forced" if forced else "free"), min(differ, default="-")
                print(f"| {dtype} | {rows} | {kind} | {same} / {len(asked)} | {first} |", flush=True)


if __name__ == "__main__":
    main()
