"""Transformers, static batches: the model card's own way of running Patho-R1, several prompts a step.

In: the name of a checkpoint and the licence accepted for it; then prompts. Out: an Identity; then
completions. It knows no thread, no queue and no job. torch is imported by `load` and by nothing else
here, so that `check` stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from worker import log
from worker.engine import devices
from worker.engine.models.checkpoint import Checkpoint, check, find, weights_digest
from worker.engine.prompt import PROMPT_VERSION
from worker.engine.reasoner import Completion, Identity, Interrupt, Prompt
from worker.errors import EngineStopped, ModelUnavailable, PathlaneError, PromptUnreadable

if TYPE_CHECKING:
    from worker.engine.models.qwen import Qwen, Row

__all__ = ["ENGINE", "StaticReasoner", "check"]

ENGINE: Final = "transformers-static"

logger = log.get(__name__)


class StaticReasoner:
    """The `Reasoner` that starts its prompts together and waits for the longest answer, greedily."""

    def __init__(self, *, model: str, license_accepted: str, max_pixels: int) -> None:
        """`max_pixels` of one image; a checkpoint whose own limit is lower keeps its own."""
        self._name, self._license, self._max_pixels = model, license_accepted, max_pixels
        self._model: Qwen | None = None

    def load(self, device: str) -> Identity:
        """Load onto `auto`, `cpu` or `cuda:N`. Raises ModelUnavailable with a sentence on what to do."""
        checkpoint = find(self._name, self._license, download=True)
        self._model = _loaded(checkpoint, device, self._max_pixels)
        return Identity(
            model=checkpoint.name,
            weights_digest=weights_digest(checkpoint.folder),
            license=checkpoint.license,
            engine=ENGINE,
            dtype=self._model.dtype,
            device=self._model.device,
            max_pixels=self._model.limits["max_pixels"],
            decoding=self._model.decoding,
            prompt_version=PROMPT_VERSION,
            software=self._model.software,
            demonstration=checkpoint.demonstration,
        )

    def read(
        self,
        prompts: Sequence[Prompt],
        interrupts: Sequence[Interrupt],
        on_step: Callable[[], None] = lambda: None,
    ) -> list[Completion | PathlaneError]:
        """One result a prompt, in order. A prompt that cannot be read fails alone."""
        if self._model is None:
            raise EngineStopped
        prepared = [
            _prepared(self._model, prompt, interrupt)
            for prompt, interrupt in zip(prompts, interrupts, strict=True)
        ]
        rows = [row for row in prepared if not isinstance(row, PathlaneError)]
        written = iter(self._model.write(rows, on_step))
        return [row if isinstance(row, PathlaneError) else next(written) for row in prepared]


def _loaded(checkpoint: Checkpoint, device: str, max_pixels: int) -> Qwen:
    try:
        from worker.engine.models.qwen import Qwen  # noqa: PLC0415  this is where torch comes in
    except ImportError as error:
        raise ModelUnavailable("Install Pathlane with its `worker` extra.") from error
    place = devices.choose(device)
    try:
        return Qwen(checkpoint.folder, place, max_pixels)
    except PathlaneError:
        raise
    except Exception as error:  # transformers, safetensors and torch each raise their own
        logger.error("model.load_failed", **log.kind_and_place(error))
        advice = "Its files or the device's free memory do not suffice: fetch them again, or free the device."
        raise ModelUnavailable(advice) from error


def _prepared(model: Qwen, prompt: Prompt, interrupt: Interrupt) -> Row | PathlaneError:
    try:
        return model.prepare(prompt, interrupt)
    except PathlaneError as error:
        return error
    except Exception as error:  # noqa: BLE001  whatever is wrong with these pixels, its neighbours are not
        logger.warning("prompt.unreadable", **log.kind_and_place(error))
        return PromptUnreadable()
