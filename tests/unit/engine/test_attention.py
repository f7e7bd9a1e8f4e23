"""Our attention function gives what transformers' own gives."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.engine.models.attention import packed

HEADS, KEY_HEADS, DIM = 6, 2, 16
MODULE = SimpleNamespace(num_key_value_groups=HEADS // KEY_HEADS, is_causal=True)


def inputs(rows, length, positions, dtype=torch.float32):
    drawn = torch.Generator().manual_seed(3)

    def tensor(*shape):
        return torch.randn(*shape, generator=drawn).to(dtype)

    keys = (rows, KEY_HEADS, positions, DIM)
    return tensor(rows, HEADS, length, DIM), tensor(*keys), tensor(*keys)


def mask_of(lengths, positions, dtype):
    seen = torch.arange(positions)[None] < torch.tensor(lengths)[:, None]
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -torch.inf)[:, None, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_token_a_row_under_a_mask(dtype):
    query, key, value = inputs(4, 1, 64, dtype)
    mask = mask_of([1, 17, 64, 40], 64, dtype)
    ours, _ = packed(MODULE, query, key, value, mask, scaling=DIM**-0.5)
    theirs, _ = sdpa_attention_forward(MODULE, query, key, value, mask, scaling=DIM**-0.5)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_whole_prompt_without_a_mask(dtype):
    query, key, value = inputs(1, 33, 33, dtype)
    ours, _ = packed(MODULE, query, key, value, None, scaling=DIM**-0.5)
    theirs, _ = sdpa_attention_forward(MODULE, query, key, value, None, scaling=DIM**-0.5)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs)


def test_keys_are_read_where_they_lie():
    """A view of a pool, as a step hands it over, gives the same as a copy."""
    query, key, value = inputs(4, 1, 64)
    mask = mask_of([5, 9, 30, 12], 32, torch.float32)
    views, copies = (key[:, :, :32], value[:, :, :32]), (key[:, :, :32].clone(), value[:, :, :32].clone())
    torch.testing.assert_close(
        packed(MODULE, query, *views, mask)[0], packed(MODULE, query, *copies, mask)[0]
    )
