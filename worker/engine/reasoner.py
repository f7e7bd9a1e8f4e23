"""Reasoner: the one thing the engine asks of a model, and the values that go in and out.

In: prompts with their pixels, and for each one when to give up. Out: completions, one a prompt, or a
typed error in its place. It knows no library that runs models, and imports none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from worker.errors import PathlaneError
from worker.jobs.request import Style

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
    style: Style
    max_new_tokens: int
    seed: int = 0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model wrote, whole or cut short."""

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    #: time in the model, from the start of the step to its end
    seconds: float
    #: how many requests shared the step
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model it is and how it is run: what a reading needs in order to be traced."""

    model: str
    #: "sha256:" and 64 hex digits, over the weight files
    weights_digest: str
    #: as named by whoever accepted it
    license: str
    #: how it is run: "transformers-static"
    engine: str
    dtype: str
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


class Reasoner(Protocol):
    """A model that is ready to be loaded on one device and asked several questions at a time."""

    def load(self, device: str) -> Identity:
        """Load onto `auto`, `cpu` or `cuda:N`. Raises ModelUnavailable with a sentence on what to do."""
        ...

    def read(
        self,
        prompts: Sequence[Prompt],
        interrupts: Sequence[Interrupt],
        on_step: Callable[[], None] = lambda: None,
    ) -> list[Completion | PathlaneError]:
        """One result a prompt, in order. A prompt that cannot be read fails alone.

        Raises EngineStopped when it can never read again in this process: the loop ends then.
        `on_step` is called after every token, so that a watchdog can tell slow from stuck.
        """
        ...
