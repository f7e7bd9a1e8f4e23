"""Memory: how many rows a pool has, and how long they are. Pure but for one look at what is free.

In: the rows that are wanted, the longest and the shortest useful row, bytes a position, free bytes. Out:
rows and positions. A pool is made once, so that keys and values can never run out while a case is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from worker.engine.pixels import MAX_IMAGE_TOKENS, TOKEN_PIXELS
from worker.errors import ModelUnavailable

#: pictures of a request at most: 8 images (`JobRequest.images`), each an overview and 16 windows
MOST_PICTURES: Final = 8 * 17
#: a picture's tokens stand between two more
FRAME_TOKENS: Final = 2
#: tokens of instructions, question and options: 4,000 characters and 26 options have about as many
TEXT_TOKENS: Final = 2048
ALIGNMENT: Final = 64
#: left free for what a prefill needs for a moment, and for graphs
WORKSPACE_BYTES: Final = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Positions of a row: as many as the longest request takes, or at least as a request with one image."""

    most: int
    least: int


def wanted(
    *, context: int, max_pixels: int, max_new_tokens: int, max_image_tokens: int = MAX_IMAGE_TOKENS
) -> Wanted:
    """Never more than the model's context."""
    image = -(-max_pixels // TOKEN_PIXELS) + FRAME_TOKENS
    images = max(max_image_tokens, image) + FRAME_TOKENS * MOST_PICTURES
    most = TEXT_TOKENS + images + max_new_tokens
    least = TEXT_TOKENS // 4 + image + max_new_tokens
    return Wanted(most=_aligned(min(context, most)), least=_aligned(min(context, least)))


def sized(*, rows: int, positions: Wanted, free_positions: int) -> tuple[int, int]:
    """Rows and positions: shorter rows before fewer. Raises ModelUnavailable where not one row fits."""
    length = min(positions.most, free_positions // rows // ALIGNMENT * ALIGNMENT)
    if length >= positions.least:
        return rows, length
    fitting = free_positions // positions.least
    if fitting == 0:
        raise ModelUnavailable(
            "The device has no memory left for one case: free it, or lower PATHLANE_MAX_PIXELS."
        )
    return min(rows, fitting), positions.least


def free_bytes(device: str) -> int:
    """What a pool may take: on a GPU all but a workspace, in the machine's memory half of what is free."""
    if device == "cpu":
        pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"  # macOS
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") // 2
    import torch  # noqa: PLC0415

    free, _ = torch.cuda.mem_get_info(device)
    return max(0, free - WORKSPACE_BYTES)


def _aligned(positions: int) -> int:
    return -(-positions // ALIGNMENT) * ALIGNMENT
