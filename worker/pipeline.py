"""The sentence of the product: a job's images are opened, the question is put, the text becomes a reading.

In: a claimed job. Out: its Reading, or the typed error that says why there is none. Queue and database
are not known here; a reading is the same whether the job came by HTTP, Celery or the command line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker import __version__
from worker.engine.legend import LEGEND_VERSION, legend
from worker.engine.loop import EngineLoop
from worker.engine.pixels import share
from worker.engine.prompt import parse
from worker.engine.reasoner import Completion, Identity, Interrupt, Prompt
from worker.imaging.source import Patch
from worker.jobs.job import Job
from worker.jobs.reading import (
    DEMONSTRATION,
    RESEARCH_USE,
    Provenance,
    Reading,
    ReadingOutcome,
    is_without_tissue,
)
from worker.jobs.request import ImageReference

#: greedy decoding does not use it; it is recorded so that sampling can
SEED = 0

OpenPatches = Callable[[Sequence[ImageReference]], tuple[Patch, ...]]


class Limits(Protocol):
    """How much one answer may cost."""

    @property
    def max_new_tokens(self) -> int: ...
    @property
    def answer_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    open_patches: OpenPatches
    engine: EngineLoop
    identity: Identity
    limits: Limits
    #: keeps the pictures that the model is shown, for whoever looks at the reading; never raises
    keep: Callable[[Sequence[Patch]], object] = lambda _: None

    def read(
        self, job: Job, cancelled: threading.Event, enter: Callable[[], object] = lambda: None
    ) -> Reading:
        """`enter` is called once all is ready for the device, and returns when the case may use it.

        Raises PathlaneError: an ImageRefused, a TransientError, an EngineError; and what `enter` raises.
        """
        began = time.monotonic()
        patches = self.open_patches(job.request.images)
        imaging_seconds = time.monotonic() - began
        if is_without_tissue([patch.record for patch in patches]):
            self.keep(patches)
            return self._without_tissue(patches, imaging_seconds=imaging_seconds)
        completion = self._ask(job, patches, cancelled, enter)
        return self._reading(job, patches, completion, imaging_seconds=imaging_seconds)

    def _ask(
        self, job: Job, patches: Sequence[Patch], cancelled: threading.Event, enter: Callable[[], object]
    ) -> Completion:
        request = job.request
        prompt = Prompt(
            images=tuple(patch.pixels for patch in patches),
            question=request.question,
            options=request.options,
            legend=_legend(patches),
            style=request.style,
            max_new_tokens=self.limits.max_new_tokens,
            seed=SEED,
        )
        deadline = time.monotonic() + (request.timeout or self.limits.answer_seconds)
        prepared = self.engine.prepare(prompt)
        ready = time.monotonic()
        enter()
        deadline += time.monotonic() - ready  # nobody was at work on it
        interrupt = Interrupt(deadline=deadline, cancelled=cancelled)
        asked = self.engine.ask(prepared, interrupt, priority=request.priority, alone=job.alone)
        self.keep(patches)  # while the engine is at it
        return asked.result()

    def _reading(
        self, job: Job, patches: Sequence[Patch], completion: Completion, *, imaging_seconds: float
    ) -> Reading:
        parsed = parse(completion.text, completion.finish, job.request.options)
        return Reading(
            outcome=parsed.outcome,
            reasoning=parsed.reasoning,
            answer=parsed.answer,
            choice=parsed.choice,
            raw_text=completion.text,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            timings=_timings(completion, imaging_seconds),
            provenance=self._provenance(patches, rows=completion.rows),
        )

    def _without_tissue(self, patches: Sequence[Patch], *, imaging_seconds: float) -> Reading:
        """No model was asked; its identity says which one would have been."""
        return Reading(
            outcome=ReadingOutcome.NO_TISSUE_FOUND,
            reasoning="",
            answer="",
            choice=None,
            raw_text="",
            prompt_tokens=0,
            completion_tokens=0,
            timings={"imaging": round(imaging_seconds, 6), "engine": 0.0},
            provenance=self._provenance(patches, rows=0),
        )

    def _provenance(self, patches: Sequence[Patch], *, rows: int) -> Provenance:
        model = self.identity
        version = f"{model.prompt_version}+{LEGEND_VERSION}" if _legend(patches) else model.prompt_version
        return Provenance(
            model=model.model,
            weights_digest=model.weights_digest,
            license=model.license,
            notice=DEMONSTRATION if model.demonstration else RESEARCH_USE,
            prompt_version=version,
            decoding=dict(model.decoding)
            | {"max_new_tokens": self.limits.max_new_tokens, "max_pixels": model.max_pixels}
            | _shared(patches, model),
            engine=model.engine,
            rows=rows,
            dtype=model.dtype,
            device=model.device,
            seed=SEED,
            software={"pathlane": __version__, **model.software},
            patches=tuple(patch.record for patch in patches),
        )


def _timings(completion: Completion, imaging_seconds: float) -> dict[str, float]:
    spent = {
        "imaging": imaging_seconds,
        "engine": completion.seconds,
        "first_token": completion.first_token_seconds,
        "device": completion.device_seconds,
    }
    return {stage: round(seconds, 6) for stage, seconds in spent.items() if seconds is not None}


def _legend(patches: Sequence[Patch]) -> str:
    return legend([patch.record for patch in patches])


def _shared(patches: Sequence[Patch], model: Identity) -> dict[str, list[int]]:
    """The most pixels of each picture, where several had to share the tokens."""
    sizes = [patch.pixels.size for patch in patches]
    shares = share(sizes, tokens=model.max_image_tokens, max_pixels=model.max_pixels)
    return {} if set(shares) <= {model.max_pixels} else {"max_pixels_each": list(shares)}
