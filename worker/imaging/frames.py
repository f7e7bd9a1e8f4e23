"""Frames of a data set become arrays of samples.

In: a data set and its transfer syntax. Out: how its pixels are laid out, and single frames decoded to RGB or
to stored values; or a refusal. One frame is decoded at a time, and only after its own header agrees with the
data set. It does not know what the values mean.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID
from rle.utils import decode_pixel_data as decode_rle

from worker.errors import ImageTooLarge, ImageUnreadable, UnsupportedImage, UnsupportedTransferSyntax
from worker.imaging.codestream import (
    Header,
    j2k_header,
    jpeg_header,
    says_ybr,
    with_colour_marker,
    without_boxes,
)
from worker.imaging.part10 import name_of
from worker.imaging.picture import check_size

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
#: PS3.3 C.7.6.3.1.2, without the retired ones
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
MAX_FRAMES = 1_000_000
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_ITEM_HEADER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The Image Pixel module (PS3.3 C.7.6.3), checked."""

    syntax: UID
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Decoded samples: rows x columns of stored values, or rows x columns x 3 of RGB."""

    samples: NDArray[Any]
    #: of one sample, as the codestream has it
    bits: int


def layout_of(dataset: Dataset, syntax: UID, *, max_pixels: int) -> Layout:
    """Raises UnsupportedImage for what is no picture, ImageTooLarge, or ImageUnreadable."""
    if "Rows" not in dataset:
        raise UnsupportedImage("DICOM without pixels")
    if "PixelData" not in dataset:
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            raise UnsupportedImage("DICOM with floating-point pixels")
        raise ImageUnreadable("There is no Pixel Data.")
    layout = declared(dataset, syntax, max_pixels=max_pixels)
    _check_frames(layout, len(dataset.PixelData))
    return layout


def declared(dataset: Dataset, syntax: UID, *, max_pixels: int) -> Layout:
    """The same where the frames are elsewhere, as in a slide of which single tiles are read."""
    layout = Layout(
        syntax=syntax,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=int(dataset.get("NumberOfFrames") or 1),
        samples=int(dataset.SamplesPerPixel),
        photometric=str(dataset.PhotometricInterpretation),
        bits_allocated=int(dataset.BitsAllocated),
        bits_stored=int(dataset.BitsStored),
        signed=bool(dataset.get("PixelRepresentation", 0)),
    )
    if int(dataset.get("HighBit", layout.bits_stored - 1)) != layout.bits_stored - 1:
        raise UnsupportedImage("DICOM with samples that are not in the lowest bits")
    check_size(layout.columns, layout.rows, max_pixels=max_pixels)
    _check_samples(layout)
    return layout


def _check_frames(layout: Layout, stored: int) -> None:
    if layout.frames > MAX_FRAMES:
        raise ImageTooLarge(f"{layout.frames} frames")
    least = _ITEM_HEADER if layout.syntax.is_encapsulated else layout.rows * layout.columns
    if layout.frames < 1 or layout.frames * least > stored:
        raise ImageUnreadable(f"{stored} bytes of Pixel Data cannot hold {layout.frames} frames.")


def _check_samples(layout: Layout) -> None:
    if layout.bits_allocated not in (8, 16) or not 1 <= layout.bits_stored <= layout.bits_allocated:
        raise UnsupportedImage(f"DICOM with {layout.bits_allocated} bits allocated")
    if layout.syntax == uid.JPEGExtended12Bit and layout.bits_stored != 8:
        raise UnsupportedTransferSyntax(f"{name_of(layout.syntax)} with {layout.bits_stored} bits")
    if layout.photometric.startswith("YBR_FULL") and layout.bits_allocated != 8:
        raise UnsupportedImage(f"{layout.photometric} with {layout.bits_allocated} bits allocated")
    samples = 3 if layout.photometric in COLOUR else 1
    if layout.photometric not in (*GREY, PALETTE, *COLOUR):
        raise UnsupportedImage("DICOM with another photometric interpretation")
    if layout.samples != samples or (samples == 3 and layout.signed):
        raise ImageUnreadable(f"{layout.samples} samples a pixel do not fit {layout.photometric}.")


def decode_frame(dataset: Dataset, layout: Layout, index: int) -> Frame:
    """`index` counts from 0. Raises ImageUnreadable; exceptions of pydicom and the decoders pass."""
    if not layout.syntax.is_encapsulated:
        return _native(dataset, layout, index)
    stream = get_frame(
        dataset.PixelData, index, number_of_frames=layout.frames, extended_offsets=_offsets(dataset)
    )
    return decode_stream(dataset, layout, stream)


def _offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in dataset or "ExtendedOffsetTableLengths" not in dataset:
        return None
    return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths


def _native(dataset: Dataset, layout: Layout, index: int) -> Frame:
    samples, _ = get_decoder(layout.syntax).as_array(dataset, index=index)
    return Frame(samples=samples, bits=layout.bits_stored)


def decode_stream(dataset: Dataset, layout: Layout, stream: bytes) -> Frame:
    """One frame as it is stored. Exactly the bytes whose header was checked are decoded."""
    if layout.syntax in uid.JPEG2000TransferSyntaxes:
        return _decode_j2k(layout, without_boxes(stream))
    if layout.syntax in _JPEG:
        return _decode_jpeg(layout, stream)
    if layout.syntax == uid.RLELossless:
        return _decode_rle(layout, stream)
    options = as_pixel_options(dataset, number_of_frames=1, pixel_keyword="PixelData")
    options.pop("extended_offsets", None)
    if not layout.syntax.is_encapsulated:
        samples, _ = get_decoder(layout.syntax).as_array(stream, index=0, **options)
        return Frame(samples=samples, bits=layout.bits_stored)
    header = jpeg_header(stream)
    _check_agreement(header, layout)
    single = encapsulate([stream], has_bot=False)
    samples, _ = get_decoder(layout.syntax).as_array(single, index=0, **options)
    return Frame(samples=samples, bits=header.bits)


def _decode_rle(layout: Layout, stream: bytes) -> Frame:
    """Without pydicom, whose own decoder lets a segment grow to 64 times its length before it looks.
    PS3.5 Annex G: one plane of bytes after the other, samples first."""
    planes = decode_rle(
        stream,
        version=2,
        rows=layout.rows,
        columns=layout.columns,
        bits_allocated=layout.bits_allocated,
        byteorder="<",
    )
    flat = np.frombuffer(planes, f"<u{layout.bits_allocated // 8}")
    flat = flat & ((1 << layout.bits_stored) - 1)  # above them may lie anything (PS3.5 8.1.1)
    samples = np.moveaxis(flat.reshape(layout.samples, layout.rows, layout.columns), 0, -1)
    if layout.samples == 1:
        return Frame(samples=_signed(samples[..., 0], layout), bits=layout.bits_stored)
    if layout.photometric.startswith("YBR_FULL"):
        samples = convert_color_space(np.ascontiguousarray(samples), "YBR_FULL", "RGB")
    return Frame(samples=samples, bits=layout.bits_stored)


def _signed(samples: NDArray[Any], layout: Layout) -> NDArray[Any]:
    header = Header(rows=layout.rows, columns=layout.columns, samples=1, bits=layout.bits_stored)
    return _with_sign(samples, header, layout)


def _decode_jpeg(layout: Layout, stream: bytes) -> Frame:
    """Without pydicom, which (as of 3.0.2) turns YCbCr into RGB twice where an Adobe marker says YCbCr."""
    header = jpeg_header(stream)
    _check_agreement(header, layout)
    if layout.samples == 3:
        said = says_ybr(stream)
        is_ybr = layout.photometric != "RGB" if said is None else said
        stream = with_colour_marker(stream, is_ybr=is_ybr)
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
        return Frame(samples=np.asarray(image), bits=header.bits)


def _decode_j2k(layout: Layout, stream: bytes) -> Frame:
    header = j2k_header(stream)
    _check_agreement(header, layout)
    samples = decode(stream, j2k_format=0)
    if samples.shape[:2] != (layout.rows, layout.columns):
        raise ImageUnreadable("A frame was decoded to another size.")
    if layout.photometric.startswith("YBR_FULL"):  # components that the codestream itself leaves as they are
        samples = convert_color_space(samples, "YBR_FULL", "RGB")
    return Frame(samples=_with_sign(samples, header, layout), bits=header.bits)


def _with_sign(samples: NDArray[Any], header: Header, layout: Layout) -> NDArray[Any]:
    """Values as Pixel Representation says, where the codestream says otherwise."""
    if header.signed == layout.signed:
        return samples
    wide = samples.astype(np.int32) & ((1 << header.bits) - 1)
    if layout.signed:
        wide -= (wide >> (header.bits - 1)) << header.bits
        return wide.astype(np.int16)
    return wide.astype(np.uint16)


def _check_agreement(header: Header, layout: Layout) -> None:
    found = (header.rows, header.columns, header.samples)
    if found != (layout.rows, layout.columns, layout.samples) or header.bits > layout.bits_allocated:
        raise ImageUnreadable(
            f"A frame of {header.columns} x {header.rows} x {header.samples} is declared as"
            f" {layout.columns} x {layout.rows} x {layout.samples}."
        )
