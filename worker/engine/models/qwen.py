"""Qwen: a Qwen2.5-VL checkpoint on one device, as its model card asks it. Importing this imports torch.

In: a folder and a device; then prompts. Out: the model; each prompt as tensors, and ids as text. It
generates nothing: that is what the engines differ in. It knows no licence and no hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from qwen_vl_utils import process_vision_info
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging as transformers_logging
from transformers.utils.import_utils import is_flash_attn_2_available

from worker.engine.pixels import LONGEST, MAX_IMAGE_TOKENS, share
from worker.engine.prompt import messages
from worker.engine.reasoner import Prompt
from worker.errors import ModelUnavailable, PromptUnreadable

#: parameters below which a CPU is better used with one thread. Measured with 0.9 million on two busy cores:
#: 0.3 s an answer with one thread, 3 s with two, which wait for each other after every small matrix.
_SMALL: Final = 50_000_000
_SOFTWARE: Final = ("torch", "torchvision", "transformers", "qwen-vl-utils", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt as tensors, and how much may be written for it within the model's context."""

    tensors: Mapping[str, torch.Tensor]
    prompt_tokens: int
    max_new_tokens: int


class Qwen:
    """The model and its processor. Prepare and decode from any thread; the model belongs to one."""

    def __init__(
        self,
        folder: Path,
        device: str,
        max_pixels: int,
        *,
        max_image_tokens: int = MAX_IMAGE_TOKENS,
        attention: str = "sdpa",
        dtype: str = "",
    ) -> None:
        """Load. Raises ModelUnavailable for weights that do not fit, or the libraries' own errors.

        `attention` is of the language model; `dtype` by default float32 on the CPU, else bfloat16.
        """
        _hush()
        self.dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
        self._processor = _load_processor(folder)
        self.model: Any = _load_weights(folder, getattr(torch, self.dtype), attention, device)
        self.model.to(device).eval()
        if device == "cpu" and self.model.num_parameters() < _SMALL:
            torch.set_num_threads(1)
        self.context: int = self.model.config.get_text_config().max_position_embeddings
        self._control = _control_tokens(self._processor.tokenizer)
        self.device = device
        self.limits = _limits(self._processor.image_processor, max_pixels)
        self.max_image_tokens = max_image_tokens
        self.decoding = _make_greedy(self.model.generation_config, self._processor.tokenizer) | self.limits
        self.software = {name: version(name) for name in _SOFTWARE}

    @property
    def end_ids(self) -> list[int]:
        ids: list[int] = self.model.generation_config.eos_token_id
        return ids

    def prepare(self, prompt: Prompt) -> Question:
        """Raises PromptUnreadable where something is known to be wrong, or the libraries' own errors."""
        _refuse_unreadable(prompt, self._control)
        chat = messages(
            style=prompt.style,
            question=prompt.question,
            options=prompt.options,
            images=prompt.images,
            limits=self._limits_of(prompt),
            legend=prompt.legend,
        )
        text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        images, videos = process_vision_info(chat)
        # process_vision_info has scaled the images within the same limits; once is enough
        tensors = self._processor(
            text=[text], images=images, videos=videos, do_resize=False, return_tensors="pt"
        )
        length = tensors["input_ids"].shape[1]
        if length >= self.context:
            raise PromptUnreadable(f"It is {length} tokens long; the model takes fewer than {self.context}.")
        limit = min(prompt.max_new_tokens, self.context - length)
        return Question(tensors=tensors, prompt_tokens=length, max_new_tokens=limit)

    def _limits_of(self, prompt: Prompt) -> list[dict[str, int]]:
        least, most = self.limits["min_pixels"], self.limits["max_pixels"]
        sizes = [image.size for image in prompt.images]
        shares = share(sizes, tokens=self.max_image_tokens, max_pixels=most)
        return [{"min_pixels": min(least, pixels), "max_pixels": pixels} for pixels in shares]

    def text_of(self, ids: Sequence[int]) -> str:
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


def _load_weights(folder: Path, dtype: torch.dtype, attention: str, device: str) -> Any:
    loader: Any = Qwen2_5_VLForConditionalGeneration
    attentions = {"": "sdpa", "text_config": attention, "vision_config": _vision_attention(dtype, device)}
    model, report = loader.from_pretrained(
        folder, dtype=dtype, attn_implementation=attentions, local_files_only=True, output_loading_info=True
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        # transformers would go on with random weights in their place
        raise ModelUnavailable("Some of its weights are missing or have another shape: fetch it again.")
    return model


def _vision_attention(dtype: torch.dtype, device: str) -> str:
    """Flash attention where it is installed: it takes all windows of an image at once, sdpa one by one."""
    has_flash = device != "cpu" and dtype is torch.bfloat16 and is_flash_attn_2_available()
    return "flash_attention_2" if has_flash else "sdpa"


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
    if any(max(image.size) > LONGEST * min(image.size) for image in prompt.images):
        raise PromptUnreadable(f"An image is more than {LONGEST} times as long as it is wide.")
