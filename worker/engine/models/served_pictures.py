"""Pictures: an image as a data: URL, no larger than the model is to be shown it. Pure: no connection.

In: an image and the most pixels of one. Out: a data: URL. It is scaled here as the local engines scale it,
so what the model sees does not hang on a server's settings, unless they are lower. PNG: every server reads it
and no pixel changes, while JPEG smears just the colours that tell stains apart.
"""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Final

from PIL import Image

from worker.engine.pixels import model_size

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
