"""Network: an untrained Qwen2.5-VL of a few million weights, with its tokenizer and its image processor.

In: a seed. Out: model and processor of the classes that the full-sized model has, so that whatever loads
one loads the other. It knows no tiles and no training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from worker.engine.models.demo.tiles import Stain
from worker.engine.prompt import SYSTEM_PROMPTS

#: every picture is brought to about this many pixels, whatever its size: 16 image tokens
PIXELS: Final = 112 * 112

_SPECIAL: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
#: written as one token each, so that rows are short and an option is one thing to point at
_PHRASES: Final = (
    *("<think>", "</think>", "<answer>", "</answer>"),
    *SYSTEM_PROMPTS.values(),
    *(f" {stain.value}" for stain in Stain),
)

_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_processor(corpus: Iterable[str]) -> Qwen2_5_VLProcessor:
    """Tokenizer made from `corpus`, chat template and image processor."""
    limits = {"shortest_edge": PIXELS, "longest_edge": PIXELS}
    return Qwen2_5_VLProcessor(  # type: ignore[no-untyped-call]
        image_processor=Qwen2VLImageProcessor(size=limits),
        tokenizer=_tokenizer(corpus),
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=_TEMPLATE,
    )


def _tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(phrase, special=False, normalized=False) for phrase in _PHRASES])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=list(_SPECIAL[1:]),
        model_max_length=2048,
    )


def build_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """Weights drawn from `seed`."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer))
    end, nothing = _ids(tokenizer, "<|im_end|>", "<|endoftext|>")
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, eos_token_id=[end, nothing], pad_token_id=nothing
    )
    return model


def _config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    image, video, start, stop = _ids(
        tokenizer, "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"
    )
    return Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer),
        vision_config={
            "depth": 3,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "out_hidden_size": 128,
            "window_size": 224,
            "fullatt_block_indexes": [0, 1, 2],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=stop,
        tie_word_embeddings=True,
    )


def _text_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    end, nothing = _ids(tokenizer, "<|im_end|>", "<|endoftext|>")
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": nothing,
        "eos_token_id": end,
        "pad_token_id": nothing,
    }


def _ids(tokenizer: PreTrainedTokenizerFast, *tokens: str) -> list[int]:
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]
