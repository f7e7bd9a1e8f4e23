from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from worker.imaging.colour import ICC_TO_SRGB, ICC_UNUSABLE, eight_bits, on_white, to_srgb


@given(st.integers(1, 16), st.data())
def test_samples_of_any_depth_are_scaled_to_eight_bits(bits: int, data: st.DataObject) -> None:
    most = (1 << bits) - 1
    value = data.draw(st.integers(0, most))
    scaled = eight_bits(np.array([0, value, most], np.uint16), bits)
    assert scaled[0] == 0
    assert scaled[2] == 255
    assert abs(int(scaled[1]) - value * 255 / most) <= 0.5


def test_what_is_transparent_is_white_and_what_is_half_transparent_is_paler() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(200, 0, 0, 255), (200, 0, 0, 0), (200, 0, 0, 128)])
    seen = np.asarray(on_white(image))[0]
    assert seen[0].tolist() == [200, 0, 0]
    assert seen[1].tolist() == [255, 255, 255]
    assert seen[2].tolist() == pytest.approx([227, 127, 127], abs=1)


def test_colours_of_an_srgb_profile_stay() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (16, 16, 3), np.uint8)
    converted, steps = to_srgb(Image.fromarray(samples), profile)
    assert steps == (ICC_TO_SRGB,)
    assert np.abs(np.asarray(converted).astype(int) - samples).max() <= 2


@pytest.mark.parametrize(
    "profile", [b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_a_profile_that_cannot_be_used_is_left_out_and_recorded(profile: bytes) -> None:
    image = Image.new("RGB", (2, 2), (10, 20, 30))
    converted, steps = to_srgb(image, profile)
    assert steps == (ICC_UNUSABLE,)
    assert converted.getpixel((0, 0)) == (10, 20, 30)
