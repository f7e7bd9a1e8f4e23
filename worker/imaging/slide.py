"""Slide: what every whole slide reader gives, whatever the slide is stored as.

In: nothing. Out: the protocol that the readers (`dicom_slide`, `scanner_slide`) fulfil and that the choice of
windows
works with. A reader never decodes more than it is asked for, and never opens a label or an overview.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from worker.imaging.units import Box, MicronsPerPixel, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One resolution of the pyramid."""

    size: Size
    #: how many pixels of the largest level one pixel of this one stands for
    downsample: float


class Slide(Protocol):
    @property
    def format(self) -> str:
        """`DICOM WSI 1.2.840.10008.1.2.4.50`, `Aperio SVS` ..."""
        ...

    @property
    def digest(self) -> str:
        """`sha256:...` of what identifies the source: the whole file where that is cheap, else its parts'
        identifiers."""
        ...

    @property
    def levels(self) -> tuple[Level, ...]:
        """The largest first."""
        ...

    @property
    def spacing(self) -> MicronsPerPixel | None:
        """Of the largest level; None where the source does not say."""
        ...

    @property
    def steps(self) -> tuple[str, ...]:
        """What was chosen or done for all regions: focal plane, optical path, ICC to sRGB."""
        ...

    def read(self, box: Box, size: Size) -> Image.Image:
        """The pixels of `box` as 8-bit sRGB of exactly `size`, from the level that fits (at least as fine as
        asked where
        there is one). Missing tiles are white. Raises RegionOutside, or another ImageRefused."""
        ...

    def close(self) -> None: ...
