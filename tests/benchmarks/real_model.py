"""Real model: Qwen2.5-VL-3B's configuration, written out, with random weights; and a prompt for it.

In: a device, the side of an image. Out: a model in bfloat16, the product's attention in its language model; a prompt
as the worker prepares one. No file is read and no hub is asked. `tiny` is a small model of the same build.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.initialization import no_init_weights

from worker.engine.models import attention
from worker.engine.models.decoder import Opening

TEXT = {
    "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36,
    "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 128_000, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True, "bos_token_id": 151_643, "eos_token_id": 151_645,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}  # fmt: skip
VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
    "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
IDS = {
    "image_token_id": 151_655, "video_token_id": 151_656, "vision_start_token_id": 151_652,
    "vision_end_token_id": 151_653,
}  # fmt: skip
SMALLER = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
#: tokens of instructions and question around the image
WORDS = 120
BLOCK = 1 << 22


def random_model(device: str, *, tiny: bool) -> Any:
    """For how long it takes, not for what it says."""
    model = built(device, tiny=tiny)
    _fill(model, device)
    return model.eval()


def built(device: str, *, tiny: bool) -> Any:
    """Without values; in bfloat16 from the start, since float32 would need twice the memory."""
    vision = VISION | ({"depth": 2, "fullatt_block_indexes": [1], "out_hidden_size": 256} if tiny else {})
    text = TEXT | (SMALLER if tiny else {})
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **IDS)
    attentions = {"": "sdpa", "text_config": attention.register(), "vision_config": "sdpa"}
    with no_init_weights(), torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(
            config, dtype=torch.bfloat16, attn_implementation=attentions
        )
    model.tie_weights()
    return model


@torch.no_grad()
def _fill(model: Any, device: str) -> None:
    """One block of random numbers again and again: to draw billions would take minutes."""
    chance = torch.Generator(device).manual_seed(1)
    block = torch.randn(BLOCK, generator=chance, device=device).mul_(0.02).to(torch.bfloat16)
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        flat = weight.view(-1)
        for begin in range(0, len(flat), BLOCK):
            part = flat[begin : begin + BLOCK]
            part.copy_(block[: len(part)])


def opening(model: Any, side: int) -> Opening:
    """A prompt as the worker prepares one: words, one image, words."""
    chance = torch.Generator().manual_seed(1)
    patches = side // VISION["patch_size"]
    image = [IDS["image_token_id"]] * (patches // VISION["spatial_merge_size"]) ** 2
    words = torch.randint(1000, (WORDS,), generator=chance).tolist()
    ids = [*words[:40], IDS["vision_start_token_id"], *image, IDS["vision_end_token_id"], *words[40:]]
    grid = torch.tensor([[1, patches, patches]])
    tokens = torch.tensor([ids])
    kinds = (tokens == IDS["image_token_id"]).int()
    positions, offset = model.model.get_rope_index(tokens, mm_token_type_ids=kinds, image_grid_thw=grid)
    pixels = torch.rand(patches**2, 3 * 2 * VISION["patch_size"] ** 2, generator=chance).to(model.dtype)
    tensors = {"input_ids": tokens, "position_ids": positions, "pixel_values": pixels, "image_grid_thw": grid}
    return Opening(tensors=tensors, length=len(ids), offset=int(offset), hold=0)
