"""Whole slides, whatever they are stored as.

In: a supply, and the part of a slide that a request asks for. Out: a Slide, or None for an ordinary picture;
and the box on its largest level with the size to show it in. What something is, its content says.
"""

from __future__ import annotations

from worker.errors import ImageRefused, RegionOutside, UnsupportedImage
from worker.imaging.boundary import decoding
from worker.imaging.kinds import PREAMBLE, SlideTiff, slide_tiff
from worker.imaging.scanner_slide import is_mirax, open_scanner_slide
from worker.imaging.slide import Slide
from worker.imaging.streams import stream_in
from worker.imaging.supply import Archived, OnDisk, Supply
from worker.imaging.units import Box, Magnification, Size, microns_per_pixel
from worker.imaging.wanted import Limits
from worker.jobs.request import Region, Unit

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def open_slide(supply: Supply, limits: Limits) -> Slide | None:
    """None: it is no slide, but perhaps a picture (`worker.imaging.source`). To be closed.

    Raises SlideIncomplete, FetchFailed or an ImageRefused.
    """
    if isinstance(supply, Archived) or (isinstance(supply, OnDisk) and len(supply.paths) > 1):
        return _dicom(supply, limits)
    with stream_in(supply) as file:
        head = file.read(PREAMBLE + 4)
        if head[PREAMBLE:] == b"DICM":
            return _dicom(supply, limits)
        with decoding("TIFF"):
            tiff = slide_tiff(file) if head.startswith(_TIFF) else None
    if tiff is SlideTiff.BELOW:
        return _ome(supply, limits)
    if tiff or (isinstance(supply, OnDisk) and is_mirax(supply.paths[0])):
        return open_scanner_slide(supply, limits)
    return None


def region_of(region: Region, slide: Slide, magnification: Magnification | None = None) -> tuple[Box, Size]:
    """Where a request's region lies on the largest level, and in which size it is shown: in pixels of its
    level, or of the largest one for millimetres, unless a magnification is given. Never finer than the slide.

    Raises RegionOutside, or ImageRefused where the slide does not say how large its pixels are.
    """
    box, size = _millimetres(region, slide) if region.unit is Unit.MILLIMETRE else _pixels(region, slide)
    largest = slide.levels[0].size
    if not box.is_inside(largest):
        raise _outside(largest)
    return box, size if magnification is None else magnified(box, slide, magnification)


def magnified(box: Box, slide: Slide, magnification: Magnification) -> Size:
    """In which size a box is shown at a magnification, at most its own. Raises ImageRefused."""
    scale = min(1.0, _spacing(slide) / microns_per_pixel(magnification))
    return Size(width=max(1, round(box.width * scale)), height=max(1, round(box.height * scale)))


def _pixels(region: Region, slide: Slide) -> tuple[Box, Size]:
    if region.level >= len(slide.levels):
        raise RegionOutside(f"The slide has {len(slide.levels)} levels.")
    level, largest = slide.levels[region.level].size, slide.levels[0].size
    across, down = largest.width / level.width, largest.height / level.height
    if region.x + region.width > level.width or region.y + region.height > level.height:
        raise _outside(level, f"Level {region.level}")
    box = _box(region.x * across, region.y * down, region.width * across, region.height * down)
    return box, Size(width=int(region.width), height=int(region.height))


def _millimetres(region: Region, slide: Slide) -> tuple[Box, Size]:
    scale = 1000 / _spacing(slide)
    largest = slide.levels[0].size
    if (region.x + region.width) * scale > largest.width + 1:  # before numbers beyond all pixels are rounded
        raise _outside(largest)
    if (region.y + region.height) * scale > largest.height + 1:
        raise _outside(largest)
    box = _box(region.x * scale, region.y * scale, region.width * scale, region.height * scale)
    return box, box.size


def _box(x: float, y: float, width: float, height: float) -> Box:
    """The nearest whole pixels, at least one."""
    left, top = round(x), round(y)
    return Box(x=left, y=top, width=max(1, round(x + width) - left), height=max(1, round(y + height) - top))


def _outside(size: Size, name: str = "The slide") -> RegionOutside:
    return RegionOutside(f"{name} has {size.width} x {size.height} pixels.")


def _spacing(slide: Slide) -> float:
    if slide.spacing is None:
        raise ImageRefused("The slide does not say how large its pixels are.")
    return slide.spacing


def _dicom(supply: Supply, limits: Limits) -> Slide | None:
    from worker.imaging.dicom_slide import open_dicom_slide  # noqa: PLC0415 - a second, for wsidicom

    return open_dicom_slide(supply, limits)


def _ome(supply: Supply, limits: Limits) -> Slide:
    try:
        from worker.imaging.ome_slide import open_ome_slide  # noqa: PLC0415 - tifffile, of an extra
    except ImportError:
        raise UnsupportedImage("OME-TIFF needs the extra `slides`.") from None
    return open_ome_slide(supply, limits)
