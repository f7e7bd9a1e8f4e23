from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from tests.unit.imaging.dicom_files import encoded, image_attributes, native
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


@pytest.mark.parametrize(("bits", "of_1000"), [(10, 249), (12, 62), (16, 4)])
def test_without_a_window_a_value_looks_the_same_beside_any_other(bits: int, of_1000: int) -> None:
    more = {"BitsStored": bits, "HighBit": bits - 1}
    for other in (0, 999, 1001, 1023):
        shown = grey_of(native(np.array([[1000, other]], np.uint16), "MONOCHROME2", **more))
        assert shown[0, 0] == of_1000


def test_without_a_window_signed_and_rescaled_values_have_the_range_of_their_bits() -> None:
    signed = np.array([[-2048, 0], [1000, 2047]], np.int16)
    for more in ({}, {"RescaleSlope": 2, "RescaleIntercept": -7}):
        shown = grey_of(native(signed, "MONOCHROME2", BitsStored=12, HighBit=11, **more))
        assert shown.tolist() == [[0, 128], [190, 255]]


def test_without_a_window_a_modality_lut_says_the_range() -> None:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [3, 0, 16], np.array([0, 32768, 40000], "<u2").tobytes()
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    shown = grey_of(native(np.array([[1, 2]], np.uint16), "MONOCHROME2", ModalityLUTSequence=[lut]))
    assert shown.tolist() == [[128, 156]]


@pytest.mark.parametrize("kind", ["u2", "i2"])
def test_bits_above_those_stored_count_for_nothing_in_rle(kind: str) -> None:
    values = RAMP.astype("u2")
    dirty = (values | 0xA000).view(kind)
    planes = (dirty.view("u2") >> 8).astype("u1"), (dirty.view("u2") & 255).astype("u1")
    rows = [[bytes([63]) + row.tobytes() for row in plane] for plane in planes]  # literal runs of 64
    high, low = (b"".join(plane) for plane in rows)
    stream = struct.pack("<16I", 2, 64, 64 + len(high), *[0] * 13) + high + low
    more = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 500, "WindowWidth": 900}
    expected = np.where(values < 2048, values, values.astype(int) - 4096) if kind == "i2" else values
    clean = native(expected.astype(kind), "MONOCHROME2", **more)
    file = encoded([stream], dirty, "MONOCHROME2", uid.RLELossless, **more)
    assert np.array_equal(grey_of(file), grey_of(clean))


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
