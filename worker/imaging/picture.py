"""Picture: one decoded image, whatever it was stored as.

In: what a reader decoded. Out: upright 8-bit RGB and how it came about, frozen. It knows no format.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from worker.errors import ImageTooLarge, ImageUnreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    #: 8-bit RGB, upright, in sRGB as far as the source says what its colours are
    pixels: Image.Image
    #: `PNG`, `DICOM 1.2.840.10008.1.2.4.50` ...
    format: str
    #: from 1; None where the source holds one picture, or where several became one
    frame: int | None = None
    #: what was done to the colours or the orientation on the way
    steps: tuple[str, ...] = ()


def check_size(width: int, height: int, *, max_pixels: int) -> None:
    """Raises ImageTooLarge or ImageUnreadable. To be asked before anything is decoded: this is the
    rule, and Pillow's own limit only repeats it (`worker.imaging.boundary.limit_pixels`)."""
    if width < 1 or height < 1:
        raise ImageUnreadable(f"{width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageTooLarge(f"{width} x {height} pixels; at most {max_pixels} are decoded.")
