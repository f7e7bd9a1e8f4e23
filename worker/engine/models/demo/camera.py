"""Camera: from optical density to the picture that a scanner or a microscope would have saved.

In: a random generator and optical density. Out: 8-bit RGB. Lamp and scanner tint, exposure, focus,
noise, vignetting, resampling, JPEG and empty borders are drawn here. It knows no stains.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from worker.engine.models.demo.dyes import Density

Pixels = NDArray[np.uint8]
Rng = np.random.Generator


def photograph(rng: Rng, density: Density, colour: float = 1.0) -> Pixels:
    """The light that comes through, as some instrument recorded it; `colour` 0 leaves grey only."""
    light = np.exp(-np.clip(density, 0, 5)) * _lamp(rng) * _vignette(rng, density.shape[:2])
    picture = np.clip(light, 0, 1) ** np.float32(rng.uniform(0.8, 1.3))
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * (colour * rng.uniform(0.75, 1.35))
    picture = 1 - (1 - picture) * rng.uniform(0.85, 1.1)
    picture = picture + rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(0, 0.035)
    return _finish(rng, Image.fromarray(np.clip(picture * 255, 0, 255).astype(np.uint8)))


def _lamp(rng: Rng) -> Density:
    """White as this lamp and camera show it: often neutral, often a little warm, sometimes far off."""
    brightness = rng.uniform(0.8, 1.03)
    spread = rng.choice([0.01, 0.03, 0.06], p=[0.45, 0.45, 0.1])
    tint = 1 - np.abs(rng.normal(0, spread, 3))
    if rng.random() < 0.3:
        tint = tint * np.array([1, 1 - rng.uniform(0, 0.05), 1 - rng.uniform(0, 0.13)])
    return np.asarray(brightness * tint, dtype=np.float32)


def _vignette(rng: Rng, shape: tuple[int, ...]) -> Density:
    if rng.random() < 0.6:
        return np.ones((1, 1, 1), dtype=np.float32)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    shift = rng.uniform(-0.4, 0.4, 2)
    away = (rows - shift[0]) ** 2 + (columns - shift[1]) ** 2
    return np.asarray((1 - rng.uniform(0, 0.12) * away)[..., None], dtype=np.float32)


def _finish(rng: Rng, image: Image.Image) -> Pixels:
    if rng.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1)) * float(rng.choice([1, 2.5]))))
    if rng.random() < 0.15:
        image = _resampled(image, float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.3:
        image = _compressed(image, quality=int(rng.integers(30, 95)))
    if rng.random() < 0.06:
        image = _bordered(rng, image)
    return np.array(image)


def _resampled(image: Image.Image, scale: float) -> Image.Image:
    """What is left of a picture that was stored smaller than it is shown."""
    small = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    return small.resize(image.size)


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=quality)
    return Image.open(memory).convert("RGB")


def _bordered(rng: Rng, image: Image.Image) -> Image.Image:
    """Black or white where a slide's grid of frames reaches past the scanned area."""
    colour = int(rng.choice([0, 255]))
    sheet = Image.new("RGB", image.size, (colour,) * 3)
    keep = rng.uniform(0.35, 0.9, 2)
    box = (
        (int(image.width * keep[0]), image.height)
        if rng.random() < 0.5
        else (image.width, int(image.height * keep[1]))
    )
    sheet.paste(image.crop((0, 0, *box)), (0, 0))
    return sheet
