"""Pictures: an image as a data: URL, no larger than the model is to be shown it. Pure: no connection.

In: an image and the most pixels of one. Out: a data: URL. It is scaled here as the local engines scale it,
so what the model sees does not hang on a server's settings, unless they are lower. PNG: every server reads it
and no pixel changes, while JPEG smears just the colours that tell stains apart.
"""

from __future__ import annotations

import io
import math
from base64 import b64encode
from typing import Final

from PIL import Image

from worker.errors import PromptUnreadable

#: side of what is one token to Qwen2.5-VL, in pixels
FACTOR: Final = 28
#: as in qwen_vl_utils: the fewest pixels, and how many times longer than wide a picture may be
LEAST_PIXELS: Final = 4 * FACTOR * FACTOR
LONGEST: Final = 200
#: zlib's fastest: photographs shrink little further, and whoever asks waits for it
_COMPRESSION: Final = 1


def data_url(image: Image.Image, max_pixels: int) -> str:
    """Raises PromptUnreadable for a picture that is too long for its width."""
    scaled = image.convert("RGB")
    size = model_size(*image.size, max_pixels)
    if size != image.size:
        scaled = scaled.resize(size)
    memory = io.BytesIO()
    scaled.save(memory, "PNG", compress_level=_COMPRESSION)
    return f"data:image/png;base64,{b64encode(memory.getvalue()).decode('ascii')}"


def model_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Width and height as qwen_vl_utils' `smart_resize` has them: multiples of 28, within the limits."""
    if max(width, height) > LONGEST * min(width, height):
        raise PromptUnreadable(f"An image is more than {LONGEST} times as long as it is wide.")
    sides = [max(FACTOR, round(side / FACTOR) * FACTOR) for side in (width, height)]
    least = min(LEAST_PIXELS, max_pixels)
    if math.prod(sides) > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        sides = [max(FACTOR, math.floor(side / shrink / FACTOR) * FACTOR) for side in (width, height)]
    elif math.prod(sides) < least:
        grow = math.sqrt(least / (width * height))
        sides = [math.ceil(side * grow / FACTOR) * FACTOR for side in (width, height)]
    return sides[0], sides[1]
