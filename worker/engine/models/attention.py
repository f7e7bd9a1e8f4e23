"""Attention: our own function for the language model's layers. Importing this imports torch.

In: queries, keys and values of one layer, as transformers hands them to an attention function. Out: the
same as its `sdpa` gives. For one query a row, the heads that share a key become that key's queries, so
that keys are never repeated: under a mask transformers 5.23 does so too, but not while it is compiled,
and older ones never. A prefill, which has no mask, is left to torch, which takes flash attention for it
where the device has it. On a GPU this has not been run.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME: Final = "pathlane_packed"


def packed(
    _module: object,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """(rows, heads, length, dim) and (rows, key heads, positions, dim) to (rows, length, heads, dim)."""
    rows, heads, length, dim = query.shape
    if length > 1:
        written = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, is_causal=attention_mask is None, scale=scaling,
            enable_gqa=True,
        )  # fmt: skip
        return written.transpose(1, 2).contiguous(), None
    key_heads = key.shape[1]
    grouped = query.view(rows, key_heads, heads // key_heads, dim)
    written = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
    return written.reshape(rows, 1, heads, dim), None


def register() -> str:
    """Make it known to transformers; gives the name under which a model is loaded with it."""
    AttentionInterface.register(NAME, packed)
    return NAME
