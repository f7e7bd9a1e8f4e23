"""A known photograph keeps its colours, whatever it is stored as."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import jpeg_ls
import numpy as np
import pytest
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import convert_color_space
from pydicom.pixels.encoders import RLELosslessEncoder

from tests.slides import swapped_profile
from tests.unit.imaging.dicom_files import WHOLE_SLIDE, encoded, native
from worker.imaging.colour import ICC_TO_SRGB
from worker.imaging.looking import read_picture
from worker.imaging.picture import Picture

data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
#: DAB brown and haematoxylin blue: exchanged channels or a YBR left as it is are far off
IHC = np.ascontiguousarray(data.immunohistochemistry()[:256, :256])


def picture(file: bytes, frame: int | None = None) -> Picture:
    return read_picture(file, frame=frame, max_pixels=200_000, max_bytes=2_000_000)


def difference(file: bytes, expected: np.ndarray = IHC) -> float:
    """Mean over the pixels, in 1/255."""
    return float(np.abs(np.asarray(picture(file).pixels).astype(int) - expected).mean())


def saved(image: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 4),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 5),
        ("JPEG", {"quality": 95}, 4),
        ("JPEG", {"quality": 95, "keep_rgb": True}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 4),
    ],
)
def test_raster_files(kind: str, options: dict[str, Any], tolerance: float) -> None:
    assert difference(saved(IHC, kind, **options)) <= tolerance


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    file = io.BytesIO()
    Image.fromarray(IHC).convert("CMYK").save(file, "JPEG", quality=95)
    assert difference(file.getvalue()) <= 4


def rle(samples: np.ndarray) -> bytes:
    planes = RLELosslessEncoder.encode(
        samples.tobytes(),
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=3,
        photometric_interpretation="RGB",
        bits_allocated=8,
        bits_stored=8,
        number_of_frames=1,
        pixel_representation=0,
        planar_configuration=0,
    )
    return bytes(planes)


def ybr_422(ybr: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.6.3.1.2: Y1 Y2 B R for each pair of pixels."""
    pairs = np.empty((ybr.shape[0], ybr.shape[1] // 2, 4), np.uint8)
    pairs[..., 0], pairs[..., 1] = ybr[:, ::2, 0], ybr[:, 1::2, 0]
    pairs[..., 2], pairs[..., 3] = ybr[:, ::2, 1], ybr[:, ::2, 2]
    return pairs


def test_native_dicom() -> None:
    ybr = convert_color_space(IHC, "RGB", "YBR_FULL")
    assert difference(native(IHC, "RGB")) == 0
    assert difference(native(ybr, "YBR_FULL")) <= 1
    assert difference(native(ybr_422(ybr), "YBR_FULL_422", Rows=256, Columns=256, SamplesPerPixel=3)) <= 3


def test_compressed_dicom() -> None:
    ybr = convert_color_space(IHC, "RGB", "YBR_FULL")
    j2k = encode_array(IHC, bits_stored=8, photometric_interpretation=1, use_mct=True)
    plain_j2k = encode_array(ybr, bits_stored=8, photometric_interpretation=3, use_mct=False)
    jls = bytes(jpeg_ls.encode_array(IHC, interleave_mode=2))
    jls_planes = bytes(jpeg_ls.encode_array(np.moveaxis(IHC, -1, 0).copy(), interleave_mode=0))
    assert difference(encoded([rle(IHC)], IHC, "RGB", uid.RLELossless)) == 0
    assert difference(encoded([rle(ybr)], IHC, "YBR_FULL", uid.RLELossless)) <= 1
    assert difference(encoded([j2k], IHC, "YBR_RCT", uid.JPEG2000Lossless)) == 0
    assert difference(encoded([plain_j2k], IHC, "YBR_FULL", uid.JPEG2000Lossless)) <= 1
    assert difference(encoded([jls], IHC, "RGB", uid.JPEGLSLossless)) == 0
    assert difference(encoded([jls_planes], IHC, "RGB", uid.JPEGLSLossless)) == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_dicom(bits: int) -> None:
    palette = Image.fromarray(IHC).quantize(256)
    expected = np.asarray(palette.convert("RGB"))
    colours = np.asarray(palette.getpalette("RGB"), np.uint16).reshape(-1, 3)
    more: dict[str, Any] = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        table = colours[:, channel] * (257 if bits == 16 else 1)
        more[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours), 0, bits]
        more[f"{name}PaletteColorLookupTableData"] = table.astype("<u2" if bits == 16 else "u1").tobytes()
    assert difference(native(np.asarray(palette), "PALETTE COLOR", **more), expected) == 0


def rewritten(stream: bytes, *, named_rgb: bool, jfif: bool, adobe: int | None) -> bytes:
    """The same JPEG with other markers, and with components that are called 1, 2, 3 or R, G, B."""
    segments, place = [], 2
    while stream[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] not in (0xE0, 0xEE):
            segments.append(stream[place:end])
        place = end
    if jfif:
        segments.insert(0, b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0")
    if adobe is not None:
        segments.insert(0, b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([adobe]))
    rewritten_ = b"\xff\xd8" + b"".join(segments) + stream[place:]
    if not named_rgb:
        rewritten_ = rewritten_.replace(b"R\x11\0G\x11\0B\x11\0", b"\x01\x11\0\x02\x11\0\x03\x11\0")
        rewritten_ = rewritten_.replace(b"\x0c\x03R\0G\0B\0", b"\x0c\x03\x01\0\x02\0\x03\0")
    return rewritten_


RGB_JPEG = saved(IHC, "JPEG", quality=95, subsampling=0, keep_rgb=True)
YBR_JPEG = saved(IHC, "JPEG", quality=95, subsampling=0)


@pytest.mark.parametrize(("jfif", "adobe"), list(product([False, True], [None, 1])))
@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_a_ybr_jpeg_is_converted_once_whatever_its_markers(
    jfif: bool, adobe: int | None, photometric: str
) -> None:
    stream = rewritten(YBR_JPEG, named_rgb=False, jfif=jfif, adobe=adobe)
    assert difference(encoded([stream], IHC, photometric, uid.JPEGBaseline8Bit)) <= 2


@pytest.mark.parametrize(("named_rgb", "adobe"), list(product([False, True], [None, 0])))
def test_an_rgb_jpeg_is_not_converted_whatever_its_markers(named_rgb: bool, adobe: int | None) -> None:
    stream = rewritten(RGB_JPEG, named_rgb=named_rgb, jfif=False, adobe=adobe)
    assert difference(encoded([stream], IHC, "RGB", uid.JPEGBaseline8Bit)) <= 2


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_an_rgb_jpeg_that_the_data_set_calls_ybr_is_believed(photometric: str) -> None:
    stream = rewritten(RGB_JPEG, named_rgb=False, jfif=False, adobe=0)
    assert difference(encoded([stream], IHC, photometric, uid.JPEGBaseline8Bit)) <= 2


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_a_bare_jpeg_with_subsampled_chroma_is_ybr_whatever_the_data_set_says(photometric: str) -> None:
    stream = saved(IHC, "JPEG", quality=95, subsampling=2)
    bare = rewritten(stream, named_rgb=True, jfif=False, adobe=None)
    assert difference(encoded([bare], IHC, photometric, uid.JPEGBaseline8Bit)) <= 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_icc_profile_of_a_raster_file_is_applied(kind: str) -> None:
    flipped = np.ascontiguousarray(IHC[..., ::-1])
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    file = saved(flipped, kind, icc_profile=swapped_profile(), **options)
    assert ICC_TO_SRGB in picture(file).steps
    assert difference(file) <= 5


def test_an_icc_profile_of_a_data_set_or_of_its_optical_path_is_applied() -> None:
    flipped = np.ascontiguousarray(IHC[..., ::-1])
    path = Dataset()
    path.ICCProfile = swapped_profile()
    for more in (
        {"ICCProfile": swapped_profile()},
        {"SOPClassUID": WHOLE_SLIDE, "OpticalPathSequence": [path]},
    ):
        file = native(flipped, "RGB", **more)
        shown = picture(file, frame=1)
        assert shown.steps == (ICC_TO_SRGB,)
        assert np.abs(np.asarray(shown.pixels).astype(int) - IHC).max() <= 2


def test_only_the_frame_that_is_asked_for_is_shown() -> None:
    flipped = np.ascontiguousarray(IHC[..., ::-1])
    streams = [encode_array(frame, bits_stored=8, photometric_interpretation=1) for frame in (IHC, flipped)]
    file = encoded(streams, IHC, "RGB", uid.JPEG2000Lossless)
    assert np.array_equal(np.asarray(picture(file).pixels), IHC)
    assert np.array_equal(np.asarray(picture(file, frame=2).pixels), flipped)
    broken = encoded([b"no codestream", streams[0]], IHC, "RGB", uid.JPEG2000Lossless)
    assert np.array_equal(np.asarray(picture(broken, frame=2).pixels), IHC)
