"""Rows: the answers that are being written, one a row, and what a step does to them.

In: prompts; asks that enter or are paused. Out: tensors of a prompt; what ended in a step. It imports torch.
A step is: put aside and take up again, read one token for every row, read new prompts, choose a token for
each row (the one wait for the device), let those leave that are done. It knows no queue and no thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch

from worker import log
from worker.engine.models.choice import Chooser, Decoding
from worker.engine.models.decoder import Decoder, shape_of
from worker.engine.models.inputs import Inputs, prepared
from worker.engine.models.memory import free_bytes, sized, wanted
from worker.engine.models.pool import Saved
from worker.engine.models.qwen import Qwen
from worker.engine.reasoner import Ask, Completion, Finish, Prepared, Prompt, Result
from worker.errors import EngineStopped, GpuOutOfMemory, ModelUnavailable, PathlaneError, PromptUnreadable

logger = log.get(__name__)

#: of the prompts that are read at once, filled up to the longest
PREFILL_TOKENS: Final = 4096


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One sample of one ask while it is written."""

    ask: Ask
    inputs: Inputs
    sample: int
    decoding: Decoding
    began: float
    #: positions that are filled
    length: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    most: int = 0
    #: when its first token was chosen
    first_at: float | None = None


class Rows:
    """Use it from the thread that loaded the model; `prepare` from any."""

    def __init__(self, model: Qwen, decoder: Decoder) -> None:
        self._qwen, self._decoder, self._pool = model, decoder, decoder.pool
        self.count, self.positions = self._pool.shape.rows, self._pool.shape.positions
        self.every_row_costs = model.device == "cpu"
        self._ends = frozenset(model.end_ids)
        self._chooser = Chooser(self._pool, self._ends, model.decoding["repetition_penalty"])
        self._running: list[Row] = []
        self._paused: dict[Ask, list[tuple[Row, Saved]]] = {}
        self._written: dict[Ask, dict[int, Completion]] = {}

    def prepare(self, prompt: Prompt) -> Prepared:
        """Raises PromptUnreadable, or the libraries' own errors."""
        return prepared(self._qwen, prompt, positions=self.positions)

    def step(
        self, enter: Sequence[Ask], pause: Sequence[Ask], on_move: Callable[[], None] = lambda: None
    ) -> list[tuple[Ask, Result]]:
        try:
            return self._step(enter, pause, on_move)
        except torch.OutOfMemoryError:
            pass  # its traceback keeps the step's tensors alive: they are freed after this block
        except torch.AcceleratorError as error:
            raise EngineStopped from error
        _free_memory()
        raise GpuOutOfMemory

    def clear(self) -> None:
        for number in range(len(self._running)):
            self._pool.close_row(number)
        self._running.clear()
        self._paused.clear()
        self._written.clear()

    @torch.inference_mode()
    def _step(
        self, enter: Sequence[Ask], pause: Sequence[Ask], on_move: Callable[[], None]
    ) -> list[tuple[Ask, Result]]:
        for ask in pause:
            self._put_aside(ask)
        new = [ask for ask in enter if not self._took_up(ask)]
        if self._running:
            self._decoder.decode(len(self._running), max(row.length for row in self._running) + 1)
            for row in self._running:
                row.length += 1
            on_move()
        refused = [failure for group in grouped(new) for failure in self._begun(group, on_move)]
        if enter:
            for row in self._running:
                row.most = max(row.most, len(self._running))
        return [*refused, *self._chosen()]

    def _begun(self, asks: Sequence[Ask], on_move: Callable[[], None]) -> list[tuple[Ask, Result]]:
        """Read new prompts into the next rows; if that fails, one by one. Gives those that cannot be read."""
        try:
            self._begin(asks)
        except torch.OutOfMemoryError:
            failure: PathlaneError = GpuOutOfMemory()
        except torch.AcceleratorError:
            raise
        except Exception as error:  # noqa: BLE001  whatever is wrong with these tensors, its neighbours are not
            logger.warning("prompt.unreadable", rows=len(asks), **log.kind_and_place(error))
            failure = PromptUnreadable()
        else:
            on_move()
            return []
        for number in range(len(self._running), len(self._running) + len(asks)):
            self._pool.close_row(number)
        if isinstance(failure, GpuOutOfMemory):
            _free_memory()
        if len(asks) > 1:
            return [each for ask in asks for each in self._begun([ask], on_move)]
        return [(asks[0], failure)]

    def _begin(self, asks: Sequence[Ask]) -> None:
        """Each further sample of a prompt has a copy of its row, behind the rows of all prompts."""
        began, first = time.monotonic(), len(self._running)
        self._decoder.prefill([ask.prepared.payload.opening for ask in asks], first)
        rows = [_row(ask, 0, began) for ask in asks]
        for number, ask in enumerate(asks, first):
            self._written[ask] = {}
            for sample in range(1, ask.prepared.samples):
                self._pool.copy(number, first + len(rows), ask.prepared.prompt_tokens)
                rows.append(_row(ask, sample, began))
        self._running += rows

    def _chosen(self) -> list[tuple[Ask, Result]]:
        """Give each row its token; what is over leaves, the last rows first, so that no hole is left."""
        if not self._running:
            return []
        chosen = self._chooser.choose([row.decoding for row in self._running])
        now = time.monotonic()
        over = list[tuple[int, Finish]]()
        for number, (row, token) in enumerate(zip(self._running, chosen.tokens, strict=True)):
            row.ids.append(token)
            row.first_at = row.first_at or now
            if chosen.logprobs is not None:
                row.logprobs.append(chosen.logprobs[number])
            if finish := self._finish(row, token, now):
                over.append((number, finish))
        ended = [self._completed(self._taken_out(number), finish, now) for number, finish in reversed(over)]
        return [*(each for each in ended if each), *self._paused_ended(now)]

    def _finish(self, row: Row, token: int, now: float) -> Finish | None:
        if token in self._ends:
            return Finish.STOP
        ran_out = len(row.ids) >= row.inputs.max_new_tokens
        return row.ask.interrupt.reason(now) or (Finish.LENGTH if ran_out else None)

    def _taken_out(self, number: int) -> Row:
        """The last row moves into the place of the one that leaves."""
        row, last = self._running[number], len(self._running) - 1
        if number != last:
            self._pool.copy(last, number, self._running[last].length)
            self._running[number] = self._running[last]
        self._running.pop()
        self._pool.close_row(last)
        return row

    def _completed(self, row: Row, finish: Finish, now: float) -> tuple[Ask, Result] | None:
        """The ask with all its samples, if this was the last of them."""
        ask, written = row.ask, self._written[row.ask]
        written[row.sample] = Completion(
            text=self._qwen.text_of(row.ids),
            finish=finish,
            prompt_tokens=row.inputs.opening.length,
            completion_tokens=len(row.ids),
            seconds=now - row.began,
            rows=row.most,
            first_token_seconds=row.first_at and row.first_at - row.began,
            logprobs=tuple(row.logprobs) if row.decoding.logprobs else None,
        )
        ask.rows -= 1
        if len(written) < ask.prepared.samples:
            return None
        del self._written[ask]
        first, *others = (written[sample] for sample in sorted(written))
        return ask, replace(first, others=tuple(others))

    def _put_aside(self, ask: Ask) -> None:
        numbers = [number for number, row in enumerate(self._running) if row.ask is ask]
        aside = self._paused[ask] = []
        for number in reversed(numbers):
            saved = self._pool.save(number, self._running[number].length)
            aside.append((self._taken_out(number), saved))

    def _took_up(self, ask: Ask) -> bool:
        """Whether it had been put aside; then its rows run on where they were."""
        for row, saved in self._paused.get(ask, ()):
            self._pool.restore(len(self._running), saved)
            self._running.append(row)
        return self._paused.pop(ask, None) is not None

    def _paused_ended(self, now: float) -> list[tuple[Ask, Result]]:
        """A deadline or a cancellation is heard while an ask is put aside, too."""
        ended = list[tuple[Ask, Result] | None]()
        for ask in list(self._paused):
            if reason := ask.interrupt.reason(now):
                ended += [self._completed(row, reason, now) for row, _ in self._paused.pop(ask)]
        return [each for each in ended if each]


def _row(ask: Ask, sample: int, began: float) -> Row:
    inputs = ask.prepared.payload
    draws = torch.Generator().manual_seed(inputs.seed + sample)
    decoding, length = replace(inputs.decoding, draws=draws), inputs.opening.length
    return Row(ask=ask, inputs=inputs, sample=sample, decoding=decoding, began=began, length=length)


def grouped(asks: Sequence[Ask]) -> list[list[Ask]]:
    """Prompts that are read at once, in order: as many as do not hold the others' tokens up for long."""
    groups = list[list[Ask]]()
    longest = 0
    for ask in asks:
        longest = max(longest, ask.prepared.prompt_tokens)
        if not groups or longest * (len(groups[-1]) + 1) > PREFILL_TOKENS:
            groups.append([])
            longest = ask.prepared.prompt_tokens
        groups[-1].append(ask)
    return groups


def rows_for(model: Qwen, rows: int, max_new_tokens: int) -> Rows:
    """As many and as long as the device's memory allows. Raises ModelUnavailable."""
    text = model.model.config.get_text_config()
    if set(text.layer_types) != {"full_attention"}:
        raise ModelUnavailable("It has sliding attention: set PATHLANE_ENGINE to `reference`.")
    shape = shape_of(model.model, 1, 1)
    position_bytes = 2 * shape.layers * shape.key_heads * shape.dim * model.model.dtype.itemsize
    count, positions = sized(
        rows=rows,
        positions=wanted(
            context=model.context,
            max_pixels=model.limits["max_pixels"],
            max_new_tokens=max_new_tokens,
            max_image_tokens=model.max_image_tokens,
        ),
        free_positions=free_bytes(model.device) // position_bytes,
    )
    on_gpu = model.device != "cpu"
    if on_gpu:
        torch.cuda.set_device(model.device)
    return Rows(model, Decoder(model.model, rows=count, positions=positions, use_graphs=on_gpu))


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
