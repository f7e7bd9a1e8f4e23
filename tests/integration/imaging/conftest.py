from __future__ import annotations

import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def no_pixel_limit() -> None:
    """Pillow's own limit is of the process: a decoder's child sets it for each image, and here tests share one."""
    Image.MAX_IMAGE_PIXELS = None
