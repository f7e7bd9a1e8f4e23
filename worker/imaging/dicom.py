"""DICOM becomes a picture.

In: the bytes of a DICOM file, and which frame is meant. Out: a Picture, or a refusal. A slide without a frame
number is put together from its tiles. Labels, overviews and what is marked as showing text about the patient
are never decoded. It does not fetch, and it does not choose between levels of a pyramid.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from worker.errors import ImageRefused, RegionOutside
from worker.imaging.boundary import decoding
from worker.imaging.colour import eight_bits, to_srgb
from worker.imaging.frames import COLOUR, GREY, PALETTE, Frame, Layout, decode_frame, layout_of
from worker.imaging.grey import to_grey
from worker.imaging.mosaic import assemble, matrix_of
from worker.imaging.palette import to_rgb
from worker.imaging.part10 import read_file
from worker.imaging.picture import Picture

#: LOCALIZER is what an overview was called in early writers
_NOT_THE_SPECIMEN = {"LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"}


def read_dicom(data: bytes, *, frame: int | None, max_pixels: int, max_bytes: int) -> Picture:
    """`frame` counts from 1. Without it: the whole level of a slide, else the first frame."""
    with decoding("DICOM"):
        dataset, syntax = read_file(data, max_bytes=max_bytes)
        _refuse_identifying(dataset)
        layout = layout_of(dataset, syntax, max_pixels=max_pixels)
        if frame is not None and frame > layout.frames:
            raise RegionOutside(f"There is no frame {frame}.")
        matrix = None if frame is not None else matrix_of(dataset, layout, max_pixels=max_pixels)
        shown = partial(_eight_bits, dataset, layout)
        if matrix is not None:
            samples, steps = assemble(dataset, layout, matrix, shown)
            steps = (*matrix.steps, *steps)
        else:
            frame = frame or 1
            samples, steps = shown(decode_frame(dataset, layout, frame - 1), frame - 1)
        pixels, converted = _srgb(samples, dataset, layout)
        steps = (*steps, *converted)
        return Picture(pixels=pixels, format=f"DICOM {syntax}", frame=frame, steps=steps)


def _refuse_identifying(dataset: Dataset) -> None:
    """PS3.3 C.8.12.4.1.1 (Image Type), C.8.12.4 (Specimen Label in Image), C.7.6.1 (Burned In Annotation)."""
    image_type = dataset.get("ImageType") or ()
    flavours = image_type if isinstance(image_type, MultiValue) else (image_type,)
    if not _NOT_THE_SPECIMEN.isdisjoint(str(flavour).strip().upper() for flavour in flavours):
        raise ImageRefused("Slide label, overview and thumbnail images are not read.")
    if _says_yes(dataset, "SpecimenLabelInImage"):
        raise ImageRefused("It shows the label of the slide.")
    if _says_yes(dataset, "BurnedInAnnotation"):
        raise ImageRefused("It is marked as showing text that may identify a patient.")


def _says_yes(dataset: Dataset, keyword: str) -> bool:
    return str(dataset.get(keyword, "")).strip().upper() == "YES"


def _eight_bits(
    dataset: Dataset, layout: Layout, frame: Frame, index: int
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """One frame as a display would show it, in grey or RGB. `index` is its own, also within a slide."""
    if layout.photometric in COLOUR:
        return eight_bits(frame.samples, frame.bits), _colour_steps(layout, frame)
    if layout.photometric == PALETTE:
        return to_rgb(frame.samples, dataset), ("PALETTE COLOR to RGB",)
    return to_grey(frame.samples, dataset, layout, index)


def _srgb(
    samples: NDArray[np.uint8], dataset: Dataset, layout: Layout
) -> tuple[Image.Image, tuple[str, ...]]:
    image = Image.fromarray(np.ascontiguousarray(samples))
    return to_srgb(image, None if layout.photometric in GREY else _profile(dataset))


def _colour_steps(layout: Layout, frame: Frame) -> tuple[str, ...]:
    to_rgb = () if layout.photometric == "RGB" else (f"{layout.photometric} to RGB",)
    return to_rgb if frame.bits == 8 else (*to_rgb, f"{frame.bits} bits to 8")


def _profile(dataset: Dataset) -> bytes | None:
    """PS3.3 C.11.15; in a slide each optical path has its own (C.8.12.5), and the first path is shown."""
    paths = dataset.get("OpticalPathSequence") or []
    profile = dataset.get("ICCProfile") or (paths[0].get("ICCProfile") if paths else None)
    return bytes(profile) if profile else None
