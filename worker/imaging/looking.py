"""Looking: what is wanted of one image becomes patches. It runs in the child (`worker.imaging.child`).

In: a supply, and what is wanted of it. Out: the patches, without the digest of their pixels: the worker makes
it of what reaches it. It knows neither references nor processes.
"""

from __future__ import annotations

from contextlib import closing

from worker.errors import ImageRefused, RegionOutside, UnsupportedImage
from worker.imaging.archived_frame import frame_file
from worker.imaging.boundary import decoding, limit_pixels
from worker.imaging.dicom import read_dicom
from worker.imaging.digests import of_bytes
from worker.imaging.files import check_bytes
from worker.imaging.kinds import kind_of
from worker.imaging.picture import Picture
from worker.imaging.raster import read_raster
from worker.imaging.sampling import part, sampled
from worker.imaging.slides import open_slide
from worker.imaging.supply import Archived, InMemory, OnDisk, Supply
from worker.imaging.wanted import Seen, Wanted
from worker.jobs.reading import PatchRecord
from worker.jobs.request import Region, Unit


def look(supply: Supply, wanted: Wanted) -> tuple[Seen, ...]:
    """Raises an ImageRefused, or what the supply raises."""
    limit_pixels(wanted.limits.max_pixels)
    of_slide = _look_at_slide(supply, wanted)
    if of_slide is not None:
        return of_slide
    data = _whole(supply, wanted)
    picture = read_picture(
        data,
        frame=None if isinstance(supply, Archived) else wanted.frame,
        max_pixels=wanted.limits.max_pixels,
        max_bytes=wanted.limits.max_bytes,
    )
    # The worker has the bytes that it gave itself, and digests them while this decodes.
    digest = "" if isinstance(supply, InMemory) else of_bytes(data)
    with decoding("picture"):
        return (_seen(picture, wanted, digest),)


def read_picture(data: bytes, *, frame: int | None, max_pixels: int, max_bytes: int) -> Picture:
    """The picture in `data`. What it is, is decided by its content alone."""
    kind = kind_of(data)
    if kind == "DICOM":
        return read_dicom(data, frame=frame, max_pixels=max_pixels, max_bytes=max_bytes)
    return read_raster(data, kind, frame=frame, max_pixels=max_pixels)


def _look_at_slide(supply: Supply, wanted: Wanted) -> tuple[Seen, ...] | None:
    """None: it is a picture, or one frame is asked for."""
    if wanted.frame is not None:
        return None
    slide = open_slide(supply, wanted.limits)
    if slide is None:
        return None
    with closing(slide):
        return sampled(slide, wanted) if wanted.region is None else (part(slide, wanted, wanted.region),)


def _whole(supply: Supply, wanted: Wanted) -> bytes:
    limits = wanted.limits
    if isinstance(supply, InMemory):
        return supply.data
    if isinstance(supply, Archived):
        return frame_file(supply, wanted.frame or 1)
    if isinstance(supply, OnDisk):
        if len(supply.paths) != 1:
            raise UnsupportedImage("several files that are no whole slide")
        with decoding("file"), supply.paths[0].open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    else:
        check_bytes(supply.file.size, limits.max_bytes)
        data = supply.file.read(0, supply.file.size)
    check_bytes(len(data), limits.max_bytes)
    return data


def _seen(picture: Picture, wanted: Wanted, digest: str) -> Seen:
    box = None if wanted.region is None else _box(wanted.region)
    pixels = picture.pixels
    if box is not None:
        x, y, width, height = box
        if x + width > pixels.width or y + height > pixels.height:
            raise RegionOutside(f"The image has {pixels.width} x {pixels.height} pixels.")
        pixels = pixels.crop((x, y, x + width, y + height))
    record = PatchRecord(
        image=wanted.number,
        source_digest=digest,
        pixels_digest="",
        format=picture.format,
        width=pixels.width,
        height=pixels.height,
        region=box,
        frame=wanted.frame or picture.frame,
        steps=picture.steps,
    )
    return Seen(rgb=pixels.tobytes(), record=record)


def _box(region: Region) -> tuple[int, int, int, int]:
    """In pixels of a picture: it has one level, and nothing says how large its pixels are."""
    if region.unit is not Unit.PIXEL:
        raise ImageRefused("A region in millimetres is for whole slides.")
    if region.level:
        raise RegionOutside(f"There is no level {region.level}.")
    return int(region.x), int(region.y), int(region.width), int(region.height)
