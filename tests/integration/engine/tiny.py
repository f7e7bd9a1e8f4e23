"""A tiny Qwen2.5-VL with random weights: for how answers are written, not for what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worker.engine.reasoner import Prompt
from worker.jobs.request import Style

LICENSE = "Apache-2.0"

_SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def picture(seed=0, width=112, height=112):
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 14, width // 14, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height))


def ask(*images, question="What is seen?", limit=24, style=Style.COT, **fields):
    return Prompt(images=images, question=question, style=style, max_new_tokens=limit, **fields)


MIXED = (
    ask(picture(1)),
    ask(picture(2, 224, 140), question="A rather longer question about the same thing?"),
    ask(picture(3, 56, 84), picture(4, 280, 280), limit=40),
    ask(picture(5, 280, 56), question="Which?", options=("first", "second"), limit=9),
    ask(picture(6, 84, 84), limit=1),
)


def save_tiny(folder: Path, *, seed: int, context: int = 2048) -> None:
    """Weights are spread, so that greedy answers differ from picture to picture and run on for long."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    processor = _processor()
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(_config(processor.tokenizer, context))
    with torch.no_grad():
        for weights in (*model.model.language_model.layers.parameters(), *model.model.visual.parameters()):
            if weights.dim() > 1:
                weights.mul_(5.0)
    model.generation_config.eos_token_id = [2, 0]
    model.generation_config.pad_token_id = 0
    # as Patho-R1's: sampling and a penalty that greedy decoding has to deal with
    model.generation_config.update(do_sample=True, temperature=1e-6, repetition_penalty=1.05)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _processor() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=_SPECIAL[1:],
    )
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=280 * 280),
        tokenizer=fast,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=_TEMPLATE,
    )


def _config(tokenizer: Any, context: int) -> Any:
    from transformers import Qwen2_5_VLConfig

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _SPECIAL}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": context,
            "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        },
        vision_config={
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 64,
            "window_size": 112, "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
