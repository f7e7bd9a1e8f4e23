"""Wanted: what is asked of one image, in the room's own units, and what came of it.

In: a request's image and the operator's limits. Out: frozen values that travel to the child process and back.
It does not
know where the image lies.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.imaging.units import Magnification
from worker.jobs.reading import PatchRecord
from worker.jobs.request import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    #: of one decoded picture or region, in pixels
    max_pixels: int
    #: of one file that is read whole, in bytes
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One image of a request."""

    #: position in the request, from 0
    number: int
    limits: Limits
    #: a frame or page, from 1
    frame: int | None = None
    #: always wins over any choice of ours
    region: Region | None = None
    #: of the windows, and of a region that says none itself
    magnification: Magnification | None = None
    #: how many windows are chosen of a whole slide without a region
    windows: int = 4
    #: side of one square window, in pixels
    window: int = 1024
    #: longest side of the overview, in pixels; 0: none
    overview: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One patch: 8-bit RGB, row by row, and where it is from."""

    rgb: bytes
    record: PatchRecord
