"""DICOM becomes a picture.

In: the bytes of a DICOM file, and which frame is meant. Out: a Picture, or a refusal. Labels, overviews and
what is marked as showing text about the patient are never decoded. It does not fetch, and it puts no tiles of
a slide together (`worker.imaging.dicom_slide`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from worker.errors import RegionOutside, UnsupportedImage
from worker.imaging.boundary import decoding
from worker.imaging.colour import eight_bits, to_srgb
from worker.imaging.frames import COLOUR, GREY, PALETTE, Frame, Layout, decode_frame, layout_of
from worker.imaging.grey import to_grey
from worker.imaging.identifying import refuse_identifying
from worker.imaging.palette import to_rgb
from worker.imaging.part10 import read_file
from worker.imaging.picture import Picture


def read_dicom(data: bytes, *, frame: int | None, max_pixels: int, max_bytes: int) -> Picture:
    """`frame` counts from 1; the first when none is given. Raises UnsupportedImage for one of a slide's tiles
    that nobody asked for by number."""
    with decoding("DICOM"):
        dataset, syntax = read_file(data, max_bytes=max_bytes)
        refuse_identifying(dataset)
        layout = layout_of(dataset, syntax, max_pixels=max_pixels)
        if frame is None and layout.frames > 1 and "TotalPixelMatrixColumns" in dataset:
            raise UnsupportedImage("DICOM slide without file meta information, without a frame number")
        frame = frame or 1
        if frame > layout.frames:
            raise RegionOutside(f"There is no frame {frame}.")
        samples, steps = eight_bits_of(dataset, layout, decode_frame(dataset, layout, frame - 1), frame - 1)
        image = Image.fromarray(np.ascontiguousarray(samples))
        pixels, converted = to_srgb(image, None if layout.photometric in GREY else profile_of(dataset))
        steps = (*steps, *converted)
        return Picture(pixels=pixels, format=f"DICOM {syntax}", frame=frame, steps=steps)


def eight_bits_of(
    dataset: Dataset, layout: Layout, frame: Frame, index: int
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """One frame as a display would show it, in grey or RGB. `index` is the frame's, from 0."""
    if layout.photometric in COLOUR:
        return eight_bits(frame.samples, frame.bits), _colour_steps(layout, frame)
    if layout.photometric == PALETTE:
        return to_rgb(frame.samples, dataset), ("PALETTE COLOR to RGB",)
    return to_grey(frame.samples, dataset, layout, index)


def _colour_steps(layout: Layout, frame: Frame) -> tuple[str, ...]:
    to_rgb = () if layout.photometric == "RGB" else (f"{layout.photometric} to RGB",)
    return to_rgb if frame.bits == 8 else (*to_rgb, f"{frame.bits} bits to 8")


def profile_of(dataset: Dataset) -> bytes | None:
    """PS3.3 C.11.15; in a slide each optical path has its own (C.8.12.5), and the first path is shown."""
    paths = dataset.get("OpticalPathSequence") or []
    profile = dataset.get("ICCProfile") or (paths[0].get("ICCProfile") if paths else None)
    return bytes(profile) if profile else None
