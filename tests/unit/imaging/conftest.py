from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from worker.settings import ImagingSettings


@pytest.fixture
def settings(tmp_path: Path) -> ImagingSettings:
    (tmp_path / "images").mkdir()
    return ImagingSettings(
        uploads_dir=tmp_path / "uploads",
        image_roots=(tmp_path / "images",),
        max_image_bytes=1_000_000,
        max_image_pixels=1_000_000,
    )


@pytest.fixture(autouse=True)
def no_pixel_limit() -> None:
    """Pillow's own limit is of the process: a decoder's child sets it for each image, and here tests share one."""
    Image.MAX_IMAGE_PIXELS = None
