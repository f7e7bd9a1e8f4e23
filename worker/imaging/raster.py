"""PNG, JPEG, TIFF and WebP become pictures.

In: bytes of a known kind, and which page or frame is meant. Out: a Picture, or a refusal. The size is asked
before anything is decoded. It knows nothing of DICOM, and it opens no label of a slide scanner's TIFF.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from worker.errors import ImageRefused, ImageUnreadable, RegionOutside, UnsupportedImage
from worker.imaging.boundary import decoding, limit_pixels
from worker.imaging.colour import eight_bits, on_white, to_srgb
from worker.imaging.picture import Picture, check_size

_ORIENTATION = ExifTags.Base.Orientation
#: Aperio writes `label 387x463` on a line of its own, Philips `Label`, Ventana `Label_Image`
_LABEL_PAGE = re.compile(r"^\s*(label|macro)", re.IGNORECASE | re.MULTILINE)
_NDPI_MAGNIFICATION = 65421
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")


def read_raster(data: bytes, kind: str, *, frame: int | None, max_pixels: int) -> Picture:
    """`kind` as Pillow names it; no other format is tried. `frame` counts pages or frames from 1."""
    limit_pixels(max_pixels)
    with decoding(kind):
        if kind == "WEBP":
            check_size(*_webp_canvas(data), max_pixels=max_pixels)
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            check_size(*image.size, max_pixels=max_pixels)
            pages = _turn_to(image, frame)
            check_size(*image.size, max_pixels=max_pixels)
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                _refuse_label_page(image)
            pixels, steps = _upright_rgb(image)
        return Picture(pixels=pixels, format=kind, frame=frame or (1 if pages else None), steps=steps)


def _turn_to(image: Image.Image, frame: int | None) -> bool:
    """Whether there are several. Without `frame` the first stays."""
    if frame is not None and frame > 1:
        try:
            image.seek(frame - 1)
        except EOFError:
            raise RegionOutside(f"There is no frame {frame}.") from None
    return bool(getattr(image, "is_animated", False))


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Width and height, from the header: Pillow has libwebp set up the canvas before it tells the size."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    raise ImageUnreadable("WEBP")


def _refuse_label_page(image: TiffImagePlugin.TiffImageFile) -> None:
    """A photograph of the slide's label shows who the patient is, and so does one of the whole slide."""
    tags: Any = image.tag_v2
    description = str(tags.get(ExifTags.Base.ImageDescription, ""))
    if _LABEL_PAGE.search(description) or tags.get(_NDPI_MAGNIFICATION) == -1:
        raise ImageRefused("Slide label and overview images are not read.")


def _upright_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    orientation = image.getexif().get(_ORIENTATION, 1)
    profile = image.info.get("icc_profile")
    image.load()
    upright = ImageOps.exif_transpose(image)
    turned = (f"EXIF orientation {orientation} turned upright",) if orientation in range(2, 9) else ()
    plain, flattened = _without_depth_or_alpha(upright, is_white_zero=_is_white_zero(image))
    pixels, converted = to_srgb(plain, profile)
    return pixels, (*turned, *flattened, *converted)


def _without_depth_or_alpha(
    image: Image.Image, *, is_white_zero: bool
) -> tuple[Image.Image, tuple[str, ...]]:
    """A mode that a colour profile may apply to: L, RGB or CMYK."""
    if image.mode.startswith("I;16"):
        grey = eight_bits(np.asarray(image), 16)
        return Image.fromarray(255 - grey if is_white_zero else grey), ("16 bits to 8",)
    if image.mode not in _MODES:
        raise UnsupportedImage(f"{image.format or 'picture'} with mode {image.mode}")
    if image.has_transparency_data:
        return on_white(image), ("transparency on white",)
    if image.mode in ("L", "RGB"):
        return image, ()
    if image.mode == "CMYK":
        return image, ("CMYK to RGB",)
    return image.convert("L" if image.mode == "1" else "RGB"), ()


def _is_white_zero(image: Image.Image) -> bool:
    """TIFF 6.0, PhotometricInterpretation 0; Pillow turns it round itself for up to 8 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(ExifTags.Base.PhotometricInterpretation, 1) == 0)
