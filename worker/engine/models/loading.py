"""Loading: from the name of a checkpoint to a model on its device and the Identity a reading needs.

In: name, accepted licence, device and limits. Out: both, or ModelUnavailable with one sentence on what
to do. torch is imported inside, so that naming an engine stays cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker import log
from worker.engine import devices
from worker.engine.models.checkpoint import Checkpoint, find, weights_digest
from worker.engine.pixels import MAX_IMAGE_TOKENS
from worker.engine.prompt import PROMPT_VERSION
from worker.engine.reasoner import Identity
from worker.errors import ModelUnavailable, PathlaneError

if TYPE_CHECKING:
    from worker.engine.models.qwen import Qwen

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which model, under which licence, shown how much."""

    model: str
    license_accepted: str
    #: of one image; a checkpoint whose own limit is lower keeps its own
    max_pixels: int
    #: of all images of a question
    max_image_tokens: int = MAX_IMAGE_TOKENS
    #: by default float32 on the CPU, else bfloat16
    dtype: str = ""


def load(source: Source, device: str, *, engine: str, packed: bool) -> tuple[Qwen, Identity]:
    """With `packed`, the language model's layers use our own attention function."""
    checkpoint = find(source.model, source.license_accepted, download=True)
    model = _loaded(checkpoint, device, source, packed=packed)
    return model, Identity(
        model=checkpoint.name,
        weights_digest=weights_digest(checkpoint.folder),
        license=checkpoint.license,
        engine=engine,
        dtype=model.dtype,
        device=model.device,
        max_pixels=model.limits["max_pixels"],
        max_image_tokens=source.max_image_tokens,
        decoding=model.decoding,
        prompt_version=PROMPT_VERSION,
        software=model.software,
        demonstration=checkpoint.demonstration,
    )


def _loaded(checkpoint: Checkpoint, device: str, source: Source, *, packed: bool) -> Qwen:
    try:
        from worker.engine.models import attention  # noqa: PLC0415  this is where torch comes in
        from worker.engine.models.qwen import Qwen  # noqa: PLC0415
    except ImportError as error:
        raise ModelUnavailable("Install Pathlane with its `worker` extra.") from error
    place = devices.choose(device)
    name = attention.register() if packed else "sdpa"
    try:
        return Qwen(
            checkpoint.folder,
            place,
            source.max_pixels,
            max_image_tokens=source.max_image_tokens,
            attention=name,
            dtype=source.dtype,
        )
    except PathlaneError:
        raise
    except Exception as error:  # transformers, safetensors and torch each raise their own
        logger.error("model.load_failed", **log.kind_and_place(error))
        advice = "Its files or the device's free memory do not suffice: fetch them again, or free the device."
        raise ModelUnavailable(advice) from error
