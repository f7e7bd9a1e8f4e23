"""Reasoner: the one thing the engine asks of a model, and the values that go in and out.

In: prompts with their pixels, and for each one when to give up. Out: completions, one a prompt, or a
typed error in its place. It knows no library that runs models, and imports none.

A prompt walks: `prepare` (in the asker's thread) makes it Prepared, the loop makes that an Ask, the scheduler
lets the Ask in, and `step` after `step` moves everything that is in until an Ask ends. What a step is, is the
model's business: one token for every row, a whole answer at a time, or whatever a server has sent since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from worker.engine.pixels import MAX_IMAGE_TOKENS
from worker.errors import PathlaneError
from worker.jobs.request import Priority, Style

if TYPE_CHECKING:
    from PIL import Image


class Finish(StrEnum):
    """Why a text ended."""

    STOP = "stop"  #: the model said that it was done
    LENGTH = "length"  #: the token limit was reached
    DEADLINE = "deadline"  #: the time limit was reached
    CANCELLED = "cancelled"  #: the asker took the request back


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question about one or more images."""

    images: tuple[Image.Image, ...]
    question: str
    options: tuple[str, ...] = ()
    #: which image is which, where one slide gave several; the model reads it before the question
    legend: str = ""
    style: Style
    max_new_tokens: int
    #: no end before so many tokens; for measurements, where answers must have a given length
    min_new_tokens: int = 0
    #: 0 is greedy: always the likeliest token
    temperature: float = 0.0
    #: sample among the likeliest tokens that together have this probability
    top_p: float = 1.0
    #: of the first sample; sample k is drawn with seed + k
    seed: int = 0
    #: how many answers; the prompt is read once for all of them
    samples: int = 1
    #: whether to keep the log-probability of every token that was chosen
    logprobs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A prompt as its model takes it."""

    prompt_tokens: int = 0
    #: how many answers are written side by side
    samples: int = 1
    #: the reasoner's own
    payload: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """When to stop writing. Both reasons are looked at after every token."""

    #: on the scale of `time.monotonic`; None is no limit
    deadline: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def reason(self, now: float) -> Finish | None:
        """Why to stop at this moment, or None to go on. A cancellation goes before a deadline."""
        if self.cancelled.is_set():
            return Finish.CANCELLED
        return Finish.DEADLINE if self.deadline is not None and now >= self.deadline else None


@dataclass(slots=True, kw_only=True, eq=False)
class Ask:
    """A prompt that somebody waits for, on its way through the engine."""

    prepared: Prepared
    interrupt: Interrupt = field(default_factory=Interrupt)
    priority: Priority = Priority.ROUTINE
    #: how many rows of others may run beside its own; None is any number, 0 is alone
    most_beside: int | None = None
    #: rows it takes, or will take; the reasoner lowers it as samples end
    rows: int = field(init=False)
    #: whether the model has begun to read it
    begun: bool = False
    #: whether it was put back to be read from the start, because a step with it failed
    again: bool = False
    #: steps in which it waited while STAT was alone in them
    steps_aside: int = 0
    #: its share of the steps it was in so far
    device_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.rows = self.prepared.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model wrote, whole or cut short."""

    text: str
    finish: Finish
    prompt_tokens: int
    #: the end token included
    completion_tokens: int
    #: time in the model, from the start of its first step to the end of its last
    seconds: float
    #: how many rows shared a step with it at most, its own included
    rows: int
    #: from the start of its first step to its first token; None where the engine cannot tell
    first_token_seconds: float | None = None
    #: its share of the device's time: of each step its rows over all rows. The loop says it
    device_seconds: float = 0.0
    #: of each token, before temperature and penalties, where they were asked for
    logprobs: tuple[float, ...] | None = None
    #: the further samples of the same prompt, in the order of their seeds
    others: tuple[Completion, ...] = ()


Result = Completion | PathlaneError


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model it is and how it is run: what a reading needs in order to be traced."""

    model: str
    #: "sha256:" and 64 hex digits, over the weight files; where a server has them,
    #: "unknown:" and 16 over its URL and the model's name
    weights_digest: str
    #: as named by whoever accepted it
    license: str
    #: how it is run: `in-flight`, `reference` or `served`
    engine: str
    #: `unknown` where a server does not say
    dtype: str
    #: `cpu`, `cuda:N`, or host and port of a server
    device: str
    #: pixels of one image that the model is shown at most
    max_pixels: int
    #: parameters as given to the model
    decoding: Mapping[str, Any]
    prompt_version: str
    #: library name -> version
    software: Mapping[str, str]
    #: whether this is the bundled demonstration, whose answers mean nothing in medicine
    demonstration: bool = False
    #: tokens that all images of a question may take together
    max_image_tokens: int = MAX_IMAGE_TOKENS


class Reasoner(Protocol):
    """A model that is ready to be loaded on one device and asked several questions at a time."""

    @property
    def rows(self) -> int:
        """How many rows a step can have; known once it is loaded."""
        ...

    @property
    def can_pause(self) -> bool:
        """Whether it can put what has begun aside, and go on with it later."""
        ...

    @property
    def every_row_costs(self) -> bool:
        """Whether each further row makes a step longer, as on a CPU; known once it is loaded."""
        ...

    def load(self, device: str) -> Identity:
        """Load onto `auto`, `cpu` or `cuda:N`. Raises ModelUnavailable with a sentence on what to do."""
        ...

    def prepare(self, prompt: Prompt) -> Prepared:
        """Called in the asker's thread, by several at once, while the engine's thread is in a step.

        Raises PromptUnreadable, or any other error that concerns this prompt alone.
        """
        ...

    def step(
        self, enter: Sequence[Ask], pause: Sequence[Ask], on_move: Callable[[], None] = lambda: None
    ) -> list[tuple[Ask, Result]]:
        """Put `pause` aside, let `enter` in (new, or paused before), move everything on. Gives what ended.

        What cannot be read ends alone, with its error. Any other exception concerns the whole step, and
        EngineStopped means that it can never step again in this process. `on_move` is called whenever
        something has moved, so that a watchdog can tell slow from stuck. Whoever asks meanwhile is let in
        at the next step, so a reasoner that only waits for a server comes back soon, with nothing.
        """
        ...

    def clear(self) -> None:
        """Forget everything that has entered: after a step that raised."""
        ...
