"""Parts of a mask are those of scikit-image, numbered in the same order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import label

from worker.imaging.components import labelled


@settings(deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.booleans()))
def test_any_mask_falls_into_the_parts_that_scikit_image_finds(mask):
    assert (labelled(mask) == label(mask, connectivity=2)).all()


@pytest.mark.parametrize("density", [0.3, 0.45, 0.6])
def test_so_does_a_large_one_with_long_winding_parts(density):
    mask = np.random.default_rng(3).random((300, 500)) < density
    assert (labelled(mask) == label(mask, connectivity=2)).all()


def test_a_spiral_is_one_part():
    mask = np.zeros((9, 9), bool)
    mask[0], mask[:, 8], mask[8], mask[2:, 0], mask[2, :7], mask[2:7, 6], mask[6, 2:7] = (True,) * 7
    assert labelled(mask).max() == 1
