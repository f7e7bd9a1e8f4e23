"""Qwen: a Qwen2.5-VL checkpoint on one device, as its model card runs it. Importing this imports torch.

In: a folder and a device; then rows, each one prompt as tensors. Out: what each row wrote and why it
ended. Rows of one call start together; each has its own limit, deadline and cancellation. It knows no
licence and no hub.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from qwen_vl_utils import process_vision_info
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging as transformers_logging

from worker.engine.models.stops import Stops
from worker.engine.prompt import messages
from worker.engine.reasoner import Completion, Interrupt, Prompt
from worker.errors import EngineStopped, GpuOutOfMemory, ModelUnavailable, PathlaneError, PromptUnreadable

#: qwen_vl_utils.vision_process.MAX_RATIO: it cannot scale a longer picture
_LONGEST: Final = 200
#: parameters below which a CPU is better used with one thread. Measured with 0.9 million on two busy cores:
#: 0.3 s an answer with one thread, 3 s with two, which wait for each other after every small matrix.
_SMALL: Final = 50_000_000
_SOFTWARE: Final = ("torch", "torchvision", "transformers", "qwen-vl-utils", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One prompt as tensors, with what limits its answer."""

    tensors: Mapping[str, torch.Tensor]
    prompt_tokens: int
    max_new_tokens: int
    interrupt: Interrupt


class Qwen:
    """The model and its processor. Use it from the thread that made it."""

    def __init__(self, folder: Path, device: str, max_pixels: int) -> None:
        """Load. Raises ModelUnavailable for weights that do not fit, or the libraries' own errors."""
        _hush()
        self._processor = _load_processor(folder)
        self._model: Any = _load_weights(folder, torch.float32 if device == "cpu" else torch.bfloat16)
        self._model.to(device).eval()
        if device == "cpu" and self._model.num_parameters() < _SMALL:
            torch.set_num_threads(1)
        self._context: int = self._model.config.get_text_config().max_position_embeddings
        self._control = _control_tokens(self._processor.tokenizer)
        self.device = device
        self.dtype = str(self._model.dtype).removeprefix("torch.")
        self.limits = _limits(self._processor.image_processor, max_pixels)
        self.decoding = _make_greedy(self._model.generation_config, self._processor.tokenizer) | self.limits
        self.software = {name: version(name) for name in _SOFTWARE}

    def prepare(self, prompt: Prompt, interrupt: Interrupt) -> Row:
        """Raises PromptUnreadable where something is known to be wrong, or the libraries' own errors."""
        _refuse_unreadable(prompt, self._control)
        chat = messages(
            style=prompt.style,
            question=prompt.question,
            options=prompt.options,
            images=prompt.images,
            limits=self.limits,
        )
        text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        images, videos = process_vision_info(chat)
        # process_vision_info has scaled the images within the same limits; once is enough
        tensors = self._processor(
            text=[text], images=images, videos=videos, do_resize=False, return_tensors="pt"
        )
        length = tensors["input_ids"].shape[1]
        if length >= self._context:
            raise PromptUnreadable(f"It is {length} tokens long; the model takes fewer than {self._context}.")
        limit = min(prompt.max_new_tokens, self._context - length)
        return Row(tensors=tensors, prompt_tokens=length, max_new_tokens=limit, interrupt=interrupt)

    def write(
        self, rows: Sequence[Row], on_step: Callable[[], None] = lambda: None
    ) -> list[Completion | PathlaneError]:
        """One result a row. What does not fit into the device's memory is tried once more in halves."""
        results = self._write(rows, on_step)
        if results is not None:
            return results
        middle = (len(rows) + 1) // 2
        return [
            result
            for half in (rows[:middle], rows[middle:])
            for result in self._write(half, on_step) or [GpuOutOfMemory() for _ in half]
        ]

    def _write(
        self, rows: Sequence[Row], on_step: Callable[[], None]
    ) -> list[Completion | PathlaneError] | None:
        """None: the device ran out of memory."""
        if not rows:
            return []
        try:
            return [*self._step(rows, on_step)]
        except torch.OutOfMemoryError:
            pass  # its traceback keeps the step's tensors alive: they are freed after this block
        except torch.AcceleratorError as error:
            raise EngineStopped from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    @torch.inference_mode()
    def _step(self, rows: Sequence[Row], on_step: Callable[[], None]) -> list[Completion]:
        began = time.monotonic()
        settings = self._model.generation_config
        inputs = _left_padded([row.tensors for row in rows], settings.pad_token_id)
        stops = Stops(
            interrupts=[row.interrupt for row in rows],
            max_new_tokens=[row.max_new_tokens for row in rows],
            end_ids=settings.eos_token_id,
            on_step=on_step,
        )
        written = self._model.generate(
            **{name: tensor.to(self.device) for name, tensor in inputs.items()},
            max_new_tokens=max(row.max_new_tokens for row in rows),
            stopping_criteria=[stops],
        )
        new = written[:, inputs["input_ids"].shape[1] :].tolist()
        seconds = time.monotonic() - began
        return [
            Completion(
                text=self._decoded(ids[: ending.tokens]),
                finish=ending.finish,
                prompt_tokens=row.prompt_tokens,
                completion_tokens=ending.tokens,
                seconds=seconds,
                rows=len(rows),
            )
            for row, ids, ending in zip(rows, new, stops.endings(), strict=True)
        ]

    def _decoded(self, ids: list[int]) -> str:
        text: str
        [text] = self._processor.batch_decode(
            [ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


def _hush() -> None:
    """No progress bars and no advice on the terminal of a server."""
    from_library: Any = transformers_logging
    from_library.disable_progress_bar()
    from_library.set_verbosity_error()


def _load_processor(folder: Path) -> Any:
    loader: Any = AutoProcessor
    return loader.from_pretrained(folder, local_files_only=True)


def _load_weights(folder: Path, dtype: torch.dtype) -> Any:
    loader: Any = Qwen2_5_VLForConditionalGeneration
    model, report = loader.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        # transformers would go on with random weights in their place
        raise ModelUnavailable("Some of its weights are missing or have another shape: fetch it again.")
    return model


def _limits(image_processor: Any, max_pixels: int) -> dict[str, int]:
    """Pixels of one image, at least and at most: the checkpoint's own, or less where a setting says so."""
    size = image_processor.size
    most = min(max_pixels, size["longest_edge"])
    return {"min_pixels": min(size["shortest_edge"], most), "max_pixels": most}


def _make_greedy(settings: Any, tokenizer: Any) -> dict[str, Any]:
    """Switch sampling off in a model's own generation settings, and say what is left of them."""
    settings.do_sample = False
    settings.num_beams = 1
    settings.temperature = settings.top_p = settings.top_k = None
    ends = tokenizer.eos_token_id if settings.eos_token_id is None else settings.eos_token_id
    settings.eos_token_id = [ends] if isinstance(ends, int) else list(ends)
    if settings.pad_token_id is None:
        settings.pad_token_id = tokenizer.pad_token_id
    return {"do_sample": False, "num_beams": 1, "repetition_penalty": settings.repetition_penalty or 1.0}


def _control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """What a tokenizer reads as a turn, an image or an end wherever it stands in a text."""
    return tuple(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


def _refuse_unreadable(prompt: Prompt, control: Sequence[str]) -> None:
    texts = (prompt.question, *prompt.options)
    if any(token in text for token in control for text in texts):
        raise PromptUnreadable("The question or an option contains a control token of the model.")
    if not prompt.images or not all(isinstance(image, Image.Image) for image in prompt.images):
        raise PromptUnreadable("There is no image to look at.")
    if any(max(image.size) > _LONGEST * min(image.size) for image in prompt.images):
        raise PromptUnreadable(f"An image is more than {_LONGEST} times as long as it is wide.")


def _left_padded(rows: Sequence[Mapping[str, torch.Tensor]], pad: int) -> dict[str, torch.Tensor]:
    """Prompts of different lengths as one batch, each ending at the right edge."""
    fills = {"input_ids": pad, "attention_mask": 0, "mm_token_type_ids": 0}
    length = max(row["input_ids"].shape[1] for row in rows)
    batch = {name: torch.cat([row[name] for row in rows]) for name in rows[0] if name not in fills}
    for name in fills.keys() & rows[0].keys():
        padded = [
            torch.nn.functional.pad(row[name], (length - row[name].shape[1], 0), value=fills[name])
            for row in rows
        ]
        batch[name] = torch.cat(padded)
    return batch
