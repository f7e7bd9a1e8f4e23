"""Served: answers are asked of an OpenAI-compatible server (vLLM, SGLang ...) that runs the model.

In: where the server is and what the model is called there; then asks, as the scheduler lets them in. Out: an
Identity; then completions. A step is a look at what has come since the last one: whole answers are collected,
and those past their deadline or taken back are cut, with the text they have. It imports no torch.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final

from worker.engine.models.served_call import Call
from worker.engine.models.served_chat import Json, body, of_sample
from worker.engine.models.served_server import Server
from worker.engine.pixels import MAX_IMAGE_TOKENS
from worker.engine.prompt import PROMPT_VERSION
from worker.engine.reasoner import Ask, Completion, Finish, Identity, Prepared, Prompt, Result
from worker.errors import ModelUnavailable, PromptUnreadable

ENGINE: Final = "served"
#: how long a step waits for an answer to end; whoever asks meanwhile enters after it
LOOK_SECONDS: Final = 0.05
_SOFTWARE: Final = ("httpx", "pillow")
#: names of a server's models that may be shown
_NAME: Final = re.compile(r"[\w./:@-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Which model at a server, under which licence, shown and asked how much."""

    #: as the server calls it
    model: str
    license_accepted: str
    #: of one image
    max_pixels: int
    #: of the longest answer
    max_new_tokens: int
    #: of all images of a question
    max_image_tokens: int = MAX_IMAGE_TOKENS


def listed(server: Server, model: Served) -> Json:
    """The server's entry of the model. Raises ModelUnavailable, or ServerUnavailable while it is not up."""
    if not model.license_accepted.strip():
        raise ModelUnavailable("Set PATHLANE_MODEL_LICENSE to the licence of the model, if you accept it.")
    entries = {entry["id"]: entry for entry in server.models()}
    if model.model not in entries:
        names = [f"`{name}`" for name in entries if _NAME.fullmatch(name)][:5]
        raise ModelUnavailable(
            "The server lists no model of that name: set PATHLANE_MODEL to "
            f"{' or '.join(names) or 'one that it lists'}."
        )
    context = entries[model.model].get("max_model_len")  # vLLM and SGLang say it
    if isinstance(context, int) and context <= model.max_new_tokens:
        raise ModelUnavailable(
            f"The server's context is {context} tokens, for images and answer together: lower "
            "PATHLANE_MAX_NEW_TOKENS, or start the server with a longer one."
        )
    return entries[model.model]


class _Asked:
    """An ask and the calls of its samples."""

    def __init__(self, ask: Ask, calls: Sequence[Call]) -> None:
        self.ask, self.calls = ask, calls
        self.began = time.monotonic()
        self.most_rows = 0

    @property
    def open(self) -> int:
        return sum(not call.is_over for call in self.calls)

    @property
    def _wants_logprobs(self) -> bool:
        return "logprobs" in self.ask.prepared.payload

    def result(self, now: float) -> Result | None:
        """What it came to; None while it goes on."""
        reason = self.ask.interrupt.reason(now)
        trouble = next((call.trouble for call in self.calls if call.trouble), None)
        if reason is Finish.DEADLINE and trouble:
            return trouble  # the server was never heard: another try may do better than an empty reading
        if reason is None:
            if error := next((call.error for call in self.calls if call.error), None):
                return error
            if self.open:
                return None
        first, *others = (self._completion(call, reason, now) for call in self.calls)
        if reason is None and self._wants_logprobs and not all(one.logprobs for one in (first, *others)):
            return PromptUnreadable("This server gives no log-probabilities.")
        return replace(first, others=tuple(others))

    def cut(self) -> None:
        for call in self.calls:
            call.cut()

    def _completion(self, call: Call, reason: Finish | None, now: float) -> Completion:
        is_whole = call.is_whole
        call.cut()
        answer = call.answer
        return Completion(
            text=answer.text,
            finish=(answer.finish if is_whole else reason) or Finish.CANCELLED,
            prompt_tokens=answer.prompt_tokens or 0,
            completion_tokens=answer.completion_tokens,
            seconds=now - self.began,
            rows=self.most_rows,
            logprobs=tuple(answer.logprobs) if self._wants_logprobs else None,
        )


class ServedReasoner:
    """The `Reasoner` of a server that somebody else runs: a row is a request that it has not ended."""

    can_pause = False
    every_row_costs = False

    def __init__(self, model: Served, server: Server, *, rows: int) -> None:
        self._model, self._server, self.rows = model, server, rows
        self._asked: dict[Ask, _Asked] = {}
        self._changed = threading.Event()
        self._moves = 0

    def load(self, _device: str) -> Identity:
        """Look whether the server is there and has the model; where it runs it is the server's business.

        Raises ModelUnavailable with a sentence on what to do, ServerUnavailable while it is not up.
        """
        listed(self._server, self._model)
        model = self._model
        known = f"{self._server.url}\0{model.model}".encode()
        return Identity(
            model=model.model,
            weights_digest=f"unknown:{hashlib.sha256(known).hexdigest()[:16]}",
            license=model.license_accepted.strip(),
            engine=ENGINE,
            dtype="unknown",
            device=self._server.place,
            max_pixels=model.max_pixels,
            max_image_tokens=model.max_image_tokens,
            decoding={"temperature": 0.0},
            prompt_version=PROMPT_VERSION,
            software={name: version(name) for name in _SOFTWARE},
        )

    def prepare(self, prompt: Prompt) -> Prepared:
        """Raises PromptUnreadable."""
        model = self._model
        said = body(prompt, model.model, model.max_pixels, max_image_tokens=model.max_image_tokens)
        return Prepared(samples=prompt.samples, payload=said)

    def step(
        self, enter: Sequence[Ask], _pause: Sequence[Ask], on_move: Callable[[], None] = lambda: None
    ) -> list[tuple[Ask, Result]]:
        # Counted before they begin: a call may be over before the next line.
        rows = sum(asked.open for asked in self._asked.values()) + sum(ask.prepared.samples for ask in enter)
        for ask in enter:
            calls = [self._call(ask, sample) for sample in range(ask.prepared.samples)]
            self._asked[ask] = _Asked(ask, calls)
        for asked in self._asked.values():
            asked.most_rows = max(asked.most_rows, rows)
        self._changed.wait(LOOK_SECONDS)
        self._changed.clear()
        self._tell_of_moves(on_move)
        return self._ended(time.monotonic())

    def clear(self) -> None:
        for asked in self._asked.values():
            asked.cut()
        self._asked.clear()

    def _call(self, ask: Ask, sample: int) -> Call:
        return Call(self._server, of_sample(ask.prepared.payload, sample), self._changed.set)

    def _ended(self, now: float) -> list[tuple[Ask, Result]]:
        ended: list[tuple[Ask, Result]] = []
        for ask, asked in list(self._asked.items()):
            result = asked.result(now)
            if result is None:
                ask.rows = max(1, asked.open)
            else:
                asked.cut()
                del self._asked[ask]
                ended.append((ask, result))
        return ended

    def _tell_of_moves(self, on_move: Callable[[], None]) -> None:
        moves = sum(call.moves for asked in self._asked.values() for call in asked.calls)
        if moves != self._moves:
            self._moves = moves
            on_move()
