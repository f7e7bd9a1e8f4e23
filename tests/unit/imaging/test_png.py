"""The file in which a picture is kept shows the picture, to whoever reads PNG."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from worker.imaging.png import png_of

sides = st.integers(1, 70)


@given(width=sides, height=sides, seed=st.integers(0, 2**32 - 1), colours=st.sampled_from([1, 3, 256]))
def test_what_is_read_is_what_was_written(width, height, seed, colours):
    shown = np.random.default_rng(seed).integers(0, colours, (height, width, 3), np.uint8)
    with Image.open(io.BytesIO(png_of(Image.fromarray(shown)))) as read:
        read.load()
        assert (read.format, read.mode, read.size) == ("PNG", "RGB", (width, height))
        assert np.array_equal(np.asarray(read), shown)


def test_blank_glass_takes_no_room():
    assert len(png_of(Image.new("RGB", (1000, 1000), "white"))) < 10_000


def test_another_reader_finds_nothing_wrong_with_it(tmp_path):
    checker = shutil.which("pngcheck")
    if checker is None:
        pytest.skip("no pngcheck on this machine")
    path = tmp_path / "a.png"
    path.write_bytes(png_of(Image.effect_noise((61, 40), 90).convert("RGB")))
    said = subprocess.run([checker, "-q", path], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")
