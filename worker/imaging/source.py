"""The one door of this room: image references become patches.

In: the references of a request, and the operator's limits. Out: for each, the pixels the model may see and
the record of where they came from; or the first refusal. Nothing is decoded in this process (`sandbox`). It
does not know the question or the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from PIL import Image

from worker.imaging.decoder import Confines
from worker.imaging.sandbox import Sandbox
from worker.imaging.supply import Supply
from worker.imaging.units import Magnification
from worker.imaging.wanted import Limits, Seen, Wanted
from worker.jobs.reading import PatchRecord
from worker.jobs.request import ImageReference
from worker.settings import ImagingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Pixels the model may see, and which they are."""

    #: 8-bit RGB
    pixels: Image.Image
    record: PatchRecord


def sandbox_of(settings: ImagingSettings) -> Sandbox:
    """To be closed. Makes the folder of uploads where nobody has yet: a child is let into what is there."""
    with suppress(OSError):  # whoever keeps an upload there says so
        settings.uploads_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    confines = Confines(
        seconds=settings.decoder_seconds,
        memory_bytes=settings.decoder_memory_bytes,
        folders=(*settings.image_roots, settings.uploads_dir),
    )
    return Sandbox(confines, children=settings.decoders)


def open_patches(
    images: Sequence[ImageReference],
    *,
    settings: ImagingSettings,
    supply_of: Callable[[str], Supply],
    sandbox: Sandbox,
) -> tuple[Patch, ...]:
    """The patches of each image, in the order of the images: one of a picture, several of a whole slide.

    Raises an ImageRefused, which no second try changes, or a TransientError, which one may: FetchFailed,
    SlideIncomplete, DecoderUnavailable.
    """
    return tuple(
        _patch(seen)
        for number, image in enumerate(images)
        for seen in sandbox.look(supply_of(image.reference), wanted_of(number, image, settings=settings))
    )


def wanted_of(number: int, image: ImageReference, *, settings: ImagingSettings) -> Wanted:
    """`number`: the position of `image` in the request, from 0. A region keeps its own resolution."""
    magnification = image.magnification
    if magnification is None and image.region is None:
        magnification = settings.slide_magnification
    wanted = Wanted(
        number=number,
        limits=Limits(max_pixels=settings.max_image_pixels, max_bytes=settings.max_image_bytes),
        frame=image.shown_frame,
        region=image.region,
        magnification=None if magnification is None else Magnification(magnification),
    )
    return wanted if image.windows is None else replace(wanted, windows=image.windows)


def _patch(seen: Seen) -> Patch:
    size = (seen.record.width, seen.record.height)
    return Patch(pixels=Image.frombytes("RGB", size, seen.rgb), record=seen.record)
