"""Every codec, by its pixels: the encodings of one tile in the wsidicom-data package, against its PNG."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from tests.unit.imaging.dicom_files import encoded, native
from worker.errors import UnsupportedTransferSyntax
from worker.imaging.dicom import read_dicom

wsidicom_data = pytest.importorskip("wsidicom_data", reason="the package wsidicom-data is not installed")
FOLDER = Path(wsidicom_data.__file__).parent / "data"
TILE = np.asarray(Image.open(FOLDER / "test_tile.png").convert("RGB"))
GREY = np.asarray(Image.open(FOLDER / "test_tile.png").convert("L"))

JPEG_2000_LOSSLESS = "JPEG_2000_Image_Compression_(Lossless_Only)"
JPEG_LS_NEAR = "JPEG-LS_Lossy_(Near-Lossless)_Image_Compression"


def stream(name: str) -> bytes:
    return (FOLDER / "encoded" / name).read_bytes()


def shown(file: bytes) -> np.ndarray:
    picture = read_dicom(file, frame=None, max_pixels=100_000, max_bytes=1_000_000)
    return np.asarray(picture.pixels).astype(int)


def largest_difference(file: bytes, expected: np.ndarray) -> int:
    return int(np.abs(shown(file) - expected).max())


@pytest.mark.parametrize(
    ("name", "syntax", "photometric", "tolerance"),
    [
        ("RLE_Lossless-RGB-8.rle", uid.RLELossless, "RGB", 0),
        ("JPEG_Baseline_(Process_1)-RGB-8.jpg", uid.JPEGBaseline8Bit, "RGB", 7),
        ("JPEG_Baseline_(Process_1)-YBR-8.jpg", uid.JPEGBaseline8Bit, "YBR_FULL_422", 16),
        ("JPEG_Baseline_(Process_1)-RGB-8.jpg", uid.JPEGExtended12Bit, "RGB", 7),
        ("JPEG-LS_Lossless_Image_Compression-RGB-8.jls", uid.JPEGLSLossless, "RGB", 0),
        (f"{JPEG_LS_NEAR}-RGB-8.jls", uid.JPEGLSNearLossless, "RGB", 1),
        ("JPEG_2000_Image_Compression-RGB-8.jp2", uid.JPEG2000, "RGB", 2),
        ("JPEG_2000_Image_Compression-YBR-8.jp2", uid.JPEG2000, "YBR_ICT", 3),
        (f"{JPEG_2000_LOSSLESS}-RGB-8.jp2", uid.JPEG2000Lossless, "RGB", 0),
        (f"{JPEG_2000_LOSSLESS}-YBR-8.jp2", uid.JPEG2000Lossless, "YBR_RCT", 1),
    ],
)
def test_a_colour_tile_looks_like_its_png(name: str, syntax: str, photometric: str, tolerance: int) -> None:
    assert largest_difference(encoded([stream(name)], TILE, photometric, syntax), TILE) <= tolerance


@pytest.mark.parametrize(
    ("name", "syntax", "tolerance"),
    [
        ("RLE_Lossless-GRAYSCALE-8.rle", uid.RLELossless, 0),
        ("JPEG_Baseline_(Process_1)-GRAYSCALE-8.jpg", uid.JPEGBaseline8Bit, 7),
        ("JPEG-LS_Lossless_Image_Compression-GRAYSCALE-8.jls", uid.JPEGLSLossless, 0),
        (f"{JPEG_LS_NEAR}-GRAYSCALE-8.jls", uid.JPEGLSNearLossless, 1),
        ("JPEG_2000_Image_Compression-GRAYSCALE-8.jp2", uid.JPEG2000, 2),
        (f"{JPEG_2000_LOSSLESS}-GRAYSCALE-8.jp2", uid.JPEG2000Lossless, 0),
    ],
)
def test_a_grey_tile_looks_like_its_png(name: str, syntax: str, tolerance: int) -> None:
    file = encoded([stream(name)], GREY, "MONOCHROME2", syntax)
    assert largest_difference(file, GREY[..., None]) <= tolerance + 1  # the packages round luma differently


@pytest.mark.parametrize(
    ("name", "syntax", "tolerance"),
    [
        ("RLE_Lossless-GRAYSCALE-16.rle", uid.RLELossless, 0),
        ("JPEG-LS_Lossless_Image_Compression-GRAYSCALE-16.jls", uid.JPEGLSLossless, 0),
        (f"{JPEG_LS_NEAR}-GRAYSCALE-16.jls", uid.JPEGLSNearLossless, 1),
        ("JPEG_2000_Image_Compression-GRAYSCALE-16.jp2", uid.JPEG2000, 1),
        (f"{JPEG_2000_LOSSLESS}-GRAYSCALE-16.jp2", uid.JPEG2000Lossless, 0),
    ],
)
def test_16_bit_grey_is_the_same_in_every_codec(name: str, syntax: str, tolerance: int) -> None:
    raw = np.frombuffer(stream("Explicit_VR_Little_Endian-GRAYSCALE-16.raw"), "<u2").reshape(GREY.shape)
    window = {"WindowCenter": int(raw.mean()), "WindowWidth": int(raw.max() - raw.min()) + 1}
    expected = shown(native(raw, "MONOCHROME2", **window))
    assert expected.std() > 10
    assert (
        largest_difference(encoded([stream(name)], raw, "MONOCHROME2", syntax, **window), expected)
        <= tolerance
    )


@pytest.mark.parametrize("big_endian", [False, True])
def test_native_tiles_are_exact(big_endian: bool) -> None:
    assert largest_difference(native(TILE, "RGB", big_endian=big_endian), TILE) == 0
    raw = np.frombuffer(stream("Explicit_VR_Little_Endian-RGB-8.raw"), np.uint8).reshape(TILE.shape)
    assert np.array_equal(raw, TILE)


def test_planes_one_after_the_other_are_put_together() -> None:
    planes = np.ascontiguousarray(np.moveaxis(TILE, -1, 0))
    file = native(planes, "RGB", Rows=240, Columns=240, SamplesPerPixel=3, PlanarConfiguration=1)
    assert largest_difference(file, TILE) == 0


# 24 x 16, lossless, written by OpenJPH 0.26; red rises with x, green with y, blue with both
_HTJ2K = """
/0//UQAvQAAAAAAYAAAAEAAAAAAAAAAAAAAAGAAAABAAAAAAAAAAAAADBwEBBwEBBwEB/1AACAACAAAAA/9SAAwAAgABAQUEBEAB
/1wAEyBQWFhYWFhYWFhYWFhYUFBQ/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAYwAAf+TwBKA6QCHdADAEgD8J3MA
wBKA/ADHdADACUCQAQd0AMAJQO4BB3QAwAlAVgGHdADACOAEwBdzAJSUAEI0AMAI4ATAJ3MA29sAQjQAwAlgBOD7AEd0ABEj/gBi
NADACaAFQCT5gAt0AEgE+QDkd1UAwAlgBUC+gAt0AO22/QDkd1UAwAmgBUha7YCLdACHh8MAAAB3VgDACsgBacAKkAAAIgACEmzs
WK23AAAACCCAAAIIIAAAQAABjlStugAAAAAANFSttgDACeAFYO7u2KfCdQB1rbXW4AD2AAHsuADACogBWowx9tpwAnUAw2EYhuHg
CPYQgey4AMAVsAWnAFtgAKaqf4FPT06S1VUqAIDOtm3b/n+BJ79knv2ye88yDQAAAAAAAAAA66666m66666m66666m/fv378NQHA
FXAFpCRJkvPwp6enQngA9+7u7u7u/v8cnv3ye/fJ7LsAwBWQBaIiIiIi8/Cnp6fCeAC9u7u7u7v/HJ798nv3yey7AP/Z
"""


@pytest.mark.parametrize("syntax", [uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL])
def test_high_throughput_jpeg_2000_is_read(syntax: str) -> None:
    y, x = np.mgrid[0:16, 0:24]
    expected = np.stack([x * 10, y * 15, (x * 7 + y * 3) % 256], -1).astype(np.uint8)
    assert largest_difference(encoded([base64.b64decode(_HTJ2K)], expected, "YBR_RCT", syntax), expected) == 0


@pytest.mark.parametrize(
    ("name", "syntax", "more"),
    [
        (
            "JPEG_Extended_(Process_2_and_4)-GRAYSCALE-12.jpg",
            uid.JPEGExtended12Bit,
            {"BitsStored": 12, "HighBit": 11},
        ),
        ("JPEG_Lossless,_Non-Hierarchical_(Process_14)-GRAYSCALE-16.jpg", uid.JPEGLossless, {}),
        ("JPEG_Lossless,_Non-Hierarchical_(Process_14)-GRAYSCALE-16.jpg", uid.JPEGLosslessSV1, {}),
        ("JPEG_2000_Image_Compression-GRAYSCALE-16.jp2", uid.MPEG4HP41, {}),
    ],
)
def test_other_codecs_are_refused_by_name(name: str, syntax: str, more: dict[str, Any]) -> None:
    file = encoded([stream(name)], GREY.astype(np.uint16), "MONOCHROME2", syntax, **more)
    with pytest.raises(UnsupportedTransferSyntax) as refusal:
        shown(file)
    assert syntax in refusal.value.detail


def test_jpeg_xl_is_refused_although_pydicom_would_fall_over_it() -> None:
    file = encoded([b"\xff\x0a"], TILE, "RGB", "1.2.840.10008.1.2.4.110")
    with pytest.raises(UnsupportedTransferSyntax):
        shown(file)
