"""The one door of this room: image references become patches.

In: the references of a request, and the operator's limits. Out: for each, the pixels the model may see and
the record of where they came from; or the first refusal. It does not know the question or the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from worker.errors import FetchFailed, ImageTooLarge, RegionOutside, UnsupportedImage
from worker.imaging.dicom import read_dicom
from worker.imaging.files import held
from worker.imaging.kinds import kind_of
from worker.imaging.picture import Picture
from worker.imaging.raster import read_raster
from worker.imaging.supply import InMemory, OnDisk, Supply
from worker.jobs.reading import PatchRecord
from worker.jobs.request import ImageReference, Region
from worker.settings import ImagingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Pixels the model may see, and which they are."""

    #: 8-bit RGB
    pixels: Image.Image
    record: PatchRecord


#: `worker.imaging.fetch.supply_of` in this process's places
SupplyOf = Callable[[str], Supply]


def open_patches(
    images: Sequence[ImageReference], *, settings: ImagingSettings, supply_of: SupplyOf
) -> tuple[Patch, ...]:
    """One patch for each image, in their order.

    Raises an ImageRefused, which no second try changes, or FetchFailed, which one may.
    """
    return tuple(
        open_patch(number, image, settings=settings, supply_of=supply_of)
        for number, image in enumerate(images)
    )


def open_patch(
    number: int, image: ImageReference, *, settings: ImagingSettings, supply_of: SupplyOf
) -> Patch:
    """`number`: the position of `image` in the request, from 0."""
    data = _whole(supply_of(image.reference), settings)
    picture = read_picture(
        data,
        frame=image.shown_frame,
        max_pixels=settings.max_image_pixels,
        max_bytes=settings.max_image_bytes,
    )
    pixels = picture.pixels if image.region is None else _crop(picture.pixels, image.region)
    return Patch(
        pixels=pixels,
        record=PatchRecord(
            image=number,
            source_digest=_digest(data),
            pixels_digest=_digest(pixels.tobytes()),
            format=picture.format,
            width=pixels.width,
            height=pixels.height,
            region=None if image.region is None else _box(image.region),
            frame=picture.frame,
            steps=picture.steps,
        ),
    )


def read_picture(data: bytes, *, frame: int | None, max_pixels: int, max_bytes: int) -> Picture:
    """The picture in `data`. What it is, is decided by its content alone."""
    kind = kind_of(data)
    if kind == "DICOM":
        return read_dicom(data, frame=frame, max_pixels=max_pixels, max_bytes=max_bytes)
    return read_raster(data, kind, frame=frame, max_pixels=max_pixels)


def _whole(supply: Supply, settings: ImagingSettings) -> bytes:
    if isinstance(supply, InMemory):
        return supply.data
    if not isinstance(supply, OnDisk) or len(supply.paths) != 1:
        raise UnsupportedImage("a series, or a file that is read in pieces")
    with held(supply, (*settings.image_roots, settings.uploads_dir)) as files:
        try:
            with files.paths[0].open("rb") as file:
                data = file.read(settings.max_image_bytes + 1)
        except OSError:
            raise FetchFailed from None
    if len(data) > settings.max_image_bytes:
        raise ImageTooLarge(f"At most {settings.max_image_bytes} bytes are read.")
    return data


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _crop(pixels: Image.Image, region: Region) -> Image.Image:
    x, y, width, height = _box(region)
    if x + width > pixels.width or y + height > pixels.height:
        raise RegionOutside(f"The image has {pixels.width} x {pixels.height} pixels.")
    return pixels.crop((x, y, x + width, y + height))


def _box(region: Region) -> tuple[int, int, int, int]:
    return int(region.x), int(region.y), int(region.width), int(region.height)
