"""Bandwidth: how fast this machine or its device reads memory, and what a decode step must read at least.

In: a device; the shape of a model. Out: bytes a second, measured; bytes a step, counted. The roofline of a step is
one divided by the other: every weight is read once, however many rows run, and every row's keys and values.
"""

from __future__ import annotations

import time
from typing import Any

import torch

#: far more than any cache
BYTES = 1 << 30
ROUNDS = 5


def measured(device: str) -> float:
    """Bytes a second that a sum over a gigabyte reads: the best of a few rounds, with torch's own threads."""
    numbers = torch.ones(BYTES // 8, dtype=torch.float64, device=device)
    numbers.sum().item()
    return BYTES / min(_seconds(numbers) for _ in range(ROUNDS))


def _seconds(numbers: torch.Tensor) -> float:
    began = time.perf_counter()
    numbers.sum().item()
    return time.perf_counter() - began


def step_bytes(model: Any, *, rows: int, context: int) -> int:
    """Weights of the language model and its head, once; keys and values of every row up to `context`.

    Of the table of embeddings a step reads one line a row, unless it is the head as well.
    """
    text = model.model.language_model
    layers = sum(weight.numel() * weight.itemsize for weight in text.layers.parameters())
    head = sum(weight.numel() * weight.itemsize for weight in model.lm_head.parameters())
    return layers + head + rows * context * position_bytes(model)


def position_bytes(model: Any) -> int:
    """Keys and values of one token."""
    config = model.config.get_text_config()
    dim = config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * config.num_key_value_heads * dim * model.dtype.itemsize)
