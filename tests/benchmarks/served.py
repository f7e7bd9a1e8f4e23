"""Served: the product's reasoner of a served model, whose answers are as long as a benchmark says.

In: the URL of a `transformers serve`. Out: a Reasoner. The OpenAI protocol has no word for a least length;
`min_tokens` is vLLM's and SGLang's, and `transformers serve` takes a whole generation configuration.
"""

from __future__ import annotations

import json
from dataclasses import replace

from tests.benchmarks.workload import LONGEST
from worker.engine.models.served import Served, ServedReasoner
from worker.engine.models.served_server import Server
from worker.engine.reasoner import Prepared, Prompt

SERVED = "pathlane/benchmark"
MAX_PIXELS = 1_003_520


class Forced(ServedReasoner):
    def prepare(self, prompt: Prompt) -> Prepared:
        prepared = super().prepare(prompt)
        said = dict(prepared.payload)
        lengths = {"min_new_tokens": said.pop("min_tokens"), "max_new_tokens": prompt.max_new_tokens}
        return replace(prepared, payload=said | {"generation_config": json.dumps(lengths)})


def forced_at(url: str, slots: int) -> Forced:
    model = Served(model=SERVED, license_accepted="benchmark", max_pixels=MAX_PIXELS, max_new_tokens=LONGEST)
    return Forced(model, Server(url=url, plain_http=True, silence_seconds=300), rows=slots)
