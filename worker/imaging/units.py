"""Lengths as the room measures them: a number never travels without its unit.

In: numbers of a file or a request. Out: types that say pixels of which level, millimetres or microns per
pixel.
After wsidicom's `geometry`. Knows no format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Millimetres = NewType("Millimetres", float)
MicronsPerPixel = NewType("MicronsPerPixel", float)
#: of the objective; 10 microns / 20 x = 0.5 microns per pixel, as scanners count it
Magnification = NewType("Magnification", float)

#: microns per pixel at 1 x
MICRONS_AT_ONE = 10.0


def microns_per_pixel(magnification: Magnification) -> MicronsPerPixel:
    """20 x is 0.5 microns per pixel, 40 x is 0.25."""
    return MicronsPerPixel(MICRONS_AT_ONE / magnification)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """In pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """In pixels of the largest level (the Total Pixel Matrix of PS3.3 C.8.12.4); the origin is its top left
    corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> Size:
        return Size(width=self.width, height=self.height)

    def is_inside(self, size: Size) -> bool:
        return (
            self.x >= 0
            and self.y >= 0
            and self.x + self.width <= size.width
            and self.y + self.height <= size.height
        )
