from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from tests.unit.imaging.dicom_files import image_attributes, native
from worker.imaging.dicom import read_dicom
from worker.imaging.grey import window

RAMP = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)


def grey_of(file: bytes, *, frame: int | None = None) -> np.ndarray:
    picture = read_dicom(file, frame=frame, max_pixels=10_000, max_bytes=100_000)
    pixels = np.asarray(picture.pixels)
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 0] == pixels[..., 2]).all()
    return pixels[..., 0].astype(int)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicoms_own(function: str) -> None:
    how = image_attributes(RAMP, "MONOCHROME2", BitsStored=12, WindowCenter=1500, WindowWidth=700)
    how.VOILUTFunction = function
    ours = window(RAMP.astype(float), 1500, 700, function)
    assert ours == pytest.approx(apply_windowing(RAMP, how) / 4095, abs=1e-9)


def test_a_12_bit_window_shows_the_values_computed_by_hand() -> None:
    shown = grey_of(
        native(RAMP, "MONOCHROME2", BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=1024)
    )
    # PS3.3 C.11.2.1.2.1: from 2048 - 0.5 - 1023/2 to 2048 - 0.5 + 1023/2
    assert shown.flat[1536] == 0
    assert shown.flat[2559] == 255
    assert shown.flat[2048] == round(((2048 - 2047.5) / 1023 + 0.5) * 255)
    assert shown.flat[1700] == round(((1700 - 2047.5) / 1023 + 0.5) * 255)


def test_monochrome1_is_the_negative_of_monochrome2() -> None:
    window_ = {"WindowCenter": 2048, "WindowWidth": 1024}
    positive = grey_of(native(RAMP, "MONOCHROME2", **window_))
    negative = grey_of(native(RAMP, "MONOCHROME1", **window_))
    assert np.abs(positive + negative - 255).max() <= 1
    assert negative.flat[0] == 255


def test_the_window_applies_to_rescaled_values() -> None:
    file = native(
        RAMP, "MONOCHROME2", RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=0, WindowWidth=401
    )
    shown = grey_of(file)
    assert shown.flat[400] == 0  # 2 * 400 - 1000 = -200 = 0 - 0.5 - 400/2 + 0.5
    assert shown.flat[500] == round((0.5 / 400 + 0.5) * 255)
    assert shown.flat[600] == 255


def test_signed_values_keep_their_order() -> None:
    signed = np.array([[-1000, 0], [500, 1000]], np.int16)
    shown = grey_of(native(signed, "MONOCHROME2", WindowCenter=0.5, WindowWidth=2001))
    assert shown.tolist() == [[0, 128], [191, 255]]


def test_without_a_window_16_bits_are_spread_from_the_least_to_the_greatest_value() -> None:
    assert grey_of(native(np.array([[100, 150], [175, 200]], np.uint16), "MONOCHROME2")).tolist() == [
        [0, 128],
        [191, 255],
    ]


def test_without_a_window_8_bits_are_shown_as_they_are() -> None:
    assert grey_of(native(np.array([[3, 100], [150, 201]], np.uint8), "MONOCHROME2")).tolist() == [
        [3, 100],
        [150, 201],
    ]


def test_a_picture_of_one_value_is_no_error() -> None:
    assert set(grey_of(native(np.full((4, 4), 32768, np.uint16), "MONOCHROME2")).flat) == {128}


def test_a_voi_lut_is_looked_up() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4, 10, 8]
    lut.LUTData = bytes([0, 10, 200, 255])
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    file = native(np.array([[9, 10], [11, 14]], np.uint16), "MONOCHROME2", VOILUTSequence=[lut])
    shown = grey_of(file)
    assert shown[0, 0] == shown[0, 1] == 0
    assert shown[1, 1] == 255


def test_a_window_may_be_given_frame_by_frame() -> None:
    groups = []
    for center in (100, 3000):
        voi, group = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = center, 2
        group.FrameVOILUTSequence = [voi]
        groups.append(group)
    dataset = native(
        np.vstack([RAMP, RAMP]),
        "MONOCHROME2",
        Rows=64,
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=groups,
    )
    assert grey_of(dataset, frame=1).flat[1000] == 255
    assert grey_of(dataset, frame=2).flat[1000] == 0
