"""Files of others: those that come with pydicom, and the test data beside the repository where there is some."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from worker.errors import (
    ImageRefused,
    ImageUnreadable,
    RegionOutside,
    UnsupportedImage,
    UnsupportedTransferSyntax,
)
from worker.imaging.looking import read_picture
from worker.imaging.picture import Picture
from worker.imaging.slides import open_slide
from worker.imaging.supply import OnDisk
from worker.imaging.units import Box
from worker.imaging.wanted import Limits

DATA = Path(__file__).parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data beside the repository")


def read(path: Path | str, frame: int | None = None) -> Picture:
    return read_picture(Path(path).read_bytes(), frame=frame, max_pixels=10_000_000, max_bytes=100_000_000)


def read_slide(name: str) -> Picture:
    """Its largest level, whole."""
    slide = open_slide(OnDisk(paths=(DATA / "dicom" / name,)), Limits(max_pixels=10**7, max_bytes=10**8))
    assert slide is not None
    with closing(slide):
        size = slide.levels[0].size
        pixels = slide.read(Box(x=0, y=0, width=size.width, height=size.height), size)
        return Picture(pixels=pixels, format=slide.format, steps=slide.steps)


def bundled(name: str) -> str:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom has no {name}")
    return str(path)


def pixels(name: str, frame: int | None = None) -> np.ndarray:
    return np.asarray(read(bundled(name), frame).pixels).astype(int)


REFERENCE = "SC_rgb_small_odd.dcm"


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("SC_rgb_dcmtk_+eb+cr.dcm", 3),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+n2.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", 6),
        ("SC_rgb_jpeg_dcmtk.dcm", 6),
        ("SC_rgb_jpeg_lossy_gdcm.dcm", 3),
        ("SC_rgb_gdcm_KY.dcm", 1),
        ("SC_rgb_jls_lossy_line.dcm", 2),
        ("SC_rgb_jls_lossy_sample.dcm", 2),
        ("SC_rgb_rle_16bit.dcm", 1),
        ("SC_rgb_rle_2frame.dcm", 0),
        ("SC_ybr_full_422_uncompressed.dcm", 6),
    ],
)
def test_the_colour_bars_look_the_same_in_every_encoding(name: str, tolerance: int) -> None:
    centres = (slice(5, None, 10), slice(20, 80, 10))  # away from the edges between bars
    assert np.abs(pixels(name)[centres] - pixels("SC_rgb_rle.dcm")[centres]).max() <= tolerance
    assert pixels("SC_rgb_rle.dcm")[5, 50].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["SC_jpeg_no_color_transform.dcm", "SC_rgb_jpeg.dcm"])
def test_an_rgb_jpeg_without_an_adobe_marker_keeps_its_colours(name: str) -> None:
    assert np.abs(pixels(name) - pixels("SC_rgb_jpeg_dcmd.dcm")).max() <= 2


def test_other_rgb_jpegs_agree_with_each_other() -> None:
    assert (
        np.abs(pixels("SC_jpeg_no_color_transform_2.dcm") - pixels("SC_rgb_jpeg_app14_dcmd.dcm")).max() <= 2
    )


@pytest.mark.parametrize("name", ["examples_jpeg2k.dcm", "examples_rgb_color.dcm"])
def test_colour_agrees_with_pydicom(name: str) -> None:
    assert np.abs(pixels(name) - pydicom.dcmread(bundled(name)).pixel_array).max() <= 1


def test_big_endian_and_odd_lengths_are_read() -> None:
    expected = pydicom.dcmread(bundled(REFERENCE)).pixel_array
    assert np.array_equal(pixels(REFERENCE), expected)
    assert np.array_equal(pixels("SC_rgb_small_odd_big_endian.dcm"), expected)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_a_signed_16_bit_image_looks_the_same_in_every_encoding(name: str) -> None:
    assert np.array_equal(pixels(name), pixels("MR_small.dcm"))
    assert read(bundled(name)).steps == ("window 600/1600 LINEAR",)


def test_one_frame_of_thirty_is_shown() -> None:
    expected = pydicom.pixels.pixel_array(bundled("examples_ybr_color.dcm"), index=29)
    assert read(bundled("examples_ybr_color.dcm")).frame == 1
    assert np.abs(pixels("examples_ybr_color.dcm", 30) - expected).mean() < 1
    assert not np.array_equal(pixels("examples_ybr_color.dcm", 1), pixels("examples_ybr_color.dcm", 30))
    with pytest.raises(RegionOutside):
        read(bundled("examples_ybr_color.dcm"), 31)


def test_a_palette_and_a_deflated_data_set_are_read() -> None:
    palette = pixels("examples_palette.dcm")
    assert palette.std(axis=2).max() > 10
    deflated = pydicom.dcmread(bundled("image_dfl.dcm")).pixel_array
    assert np.array_equal(pixels("image_dfl.dcm")[..., 0], deflated)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("JPEG-lossy.dcm", UnsupportedTransferSyntax),
        ("JPGExtended.dcm", UnsupportedTransferSyntax),
        ("SC_rgb_jpeg_gdcm.dcm", UnsupportedTransferSyntax),
        ("JPEG2000-embedded-sequence-delimiter.dcm", ImageUnreadable),
        ("MR_truncated.dcm", ImageUnreadable),
        ("badVR.dcm", ImageUnreadable),
        ("liver_1frame.dcm", UnsupportedImage),
        ("SC_rgb_rle_32bit.dcm", UnsupportedImage),
        ("rtdose.dcm", UnsupportedImage),
        ("no_meta.dcm", UnsupportedImage),
        ("meta_missing_tsyntax.dcm", UnsupportedImage),
        ("rtplan_truncated.dcm", UnsupportedImage),
        ("test-SR.dcm", UnsupportedImage),
        ("reportsi.dcm", UnsupportedImage),
        ("waveform_ecg.dcm", UnsupportedImage),
        ("empty_charset_LEI.dcm", UnsupportedImage),
    ],
)
def test_what_is_no_picture_is_refused_by_its_kind(name: str, error: type[ImageRefused]) -> None:
    with pytest.raises(ImageRefused) as refusal:
        read(bundled(name))
    assert type(refusal.value) is error


@needs_data
def test_a_slide_level_is_assembled_from_its_tiles() -> None:
    path = DATA / "dicom" / "ezwsi_camelyon_multiframe.dcm"
    level = read_slide(path.name)
    assert level.pixels.size == (1152, 700)
    assert level.steps == ("YBR_FULL_422 to RGB",)
    whole = np.asarray(level.pixels)
    for frame in range(1, 16):
        down, across = divmod(frame - 1, 5)
        place = whole[down * 256 : (down + 1) * 256, across * 256 : (across + 1) * 256]
        tile = np.asarray(read(path, frame).pixels)
        assert np.array_equal(place, tile[: place.shape[0], : place.shape[1]])
    rose = whole.mean((0, 1))
    assert rose[2] > rose[0] > rose[1]


@needs_data
@pytest.mark.parametrize("name", ["highdicom_sm_image.dcm", "highdicom_sm_image_jpegls.dcm"])
def test_small_slides_with_a_profile_are_assembled(name: str) -> None:
    level = read_slide(name)
    assert level.pixels.size == (50, 50)
    assert level.steps == ("ICC profile to sRGB",)


@needs_data
def test_a_16_bit_slide_has_one_range_for_all_its_tiles() -> None:
    level = read_slide("highdicom_sm_image_grayscale.dcm")
    assert level.steps == ("range of 16 bits",)
    whole = np.asarray(level.pixels)
    for frame in range(1, 26):
        down, across = divmod(frame - 1, 5)
        place = whole[down * 10 : down * 10 + 10, across * 10 : across * 10 + 10]
        tile = read(DATA / "dicom" / "highdicom_sm_image_grayscale.dcm", frame)
        assert np.array_equal(place, np.asarray(tile.pixels))


@needs_data
@pytest.mark.parametrize("name", ["ezwsi_test.dcm", "ezwsi_test_wsi.dcm"])
def test_slide_labels_are_refused(name: str) -> None:
    with pytest.raises(ImageRefused):
        read(DATA / "dicom" / name)


@needs_data
def test_tiles_with_an_alpha_channel_look_like_themselves() -> None:
    for path in sorted((DATA / "histology" / "histolab_tiles_qc").glob("*.png")):
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(np.asarray(read(path).pixels), expected), path.stem
