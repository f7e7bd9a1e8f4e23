"""Colours become sRGB, samples become eight bits, transparency becomes white.

In: pictures or arrays as decoders give them. Out: the same in 8-bit RGB, with the steps that were taken.
Knows ICC profiles and numbers of bits; knows no file format.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

ICC_TO_SRGB = "ICC profile to sRGB"
ICC_UNUSABLE = "ICC profile unusable, left out"


def eight_bits(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Unsigned samples of `bits` bits, scaled so that the largest value stays the largest."""
    if bits == 8:
        return samples.astype(np.uint8)
    most = (1 << bits) - 1
    table = (np.arange(most + 1, dtype=np.uint32) * 255 + most // 2) // most
    scaled: NDArray[np.uint8] = table.astype(np.uint8)[np.minimum(samples, most)]
    return scaled


def on_white(image: Image.Image) -> Image.Image:
    """The picture as seen on white paper: what is transparent in a tile is glass."""
    seen = image.convert("RGBA")
    page = Image.new("RGB", seen.size, "white")
    page.paste(seen, mask=seen.getchannel("A"))
    return page


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """RGB in sRGB. A profile that is damaged, or made for other colours than these, is left out."""
    if not profile:
        return image.convert("RGB"), ()
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB"), (ICC_UNUSABLE,)
    if converted is None:
        return image.convert("RGB"), (ICC_UNUSABLE,)
    return converted, (ICC_TO_SRGB,)
