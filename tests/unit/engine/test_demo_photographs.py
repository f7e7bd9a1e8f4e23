"""Which pictures an evaluation finds, and what it changes about them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from worker.engine.models.demo.photographs import Photograph, find_photographs
from worker.engine.models.demo.tiles import Stain


@pytest.fixture
def brown():
    return Image.new("RGB", (40, 20), (150, 100, 50))


def test_known_pictures_are_found_by_name_in_any_folder_below(tmp_path, brown):
    (tmp_path / "deep").mkdir()
    brown.save(tmp_path / "deep" / "ihc.png")
    brown.save(tmp_path / "unknown.png")
    assert [(each.name, each.stain) for each in find_photographs(tmp_path)] == [("ihc.png", Stain.DAB)]


def test_a_labels_file_names_other_pictures(tmp_path, brown):
    brown.save(tmp_path / "mine.png")
    (tmp_path / "labels.json").write_text(json.dumps({"mine.png": "Other stain"}), encoding="utf-8")
    assert [each.stain for each in find_photographs(tmp_path)] == [Stain.OTHER]


def test_transparent_pixels_are_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "no-tissue.png")
    (glass,) = find_photographs(tmp_path)
    assert np.asarray(glass.picture).min() == 255


def test_a_brown_picture_with_red_and_blue_exchanged_is_another_stain(brown):
    variants = {each.name: each for each in Photograph(name="a", picture=brown, stain=Stain.DAB).variants()}
    swapped = variants["red-blue swap"]
    assert swapped.stain is Stain.OTHER
    assert swapped.picture.getpixel((0, 0)) == (50, 100, 150)


@pytest.mark.parametrize("stain", [Stain.HE, Stain.DAB, Stain.OTHER])
def test_crops_scales_and_jpeg_keep_the_stain(brown, stain):
    variants = list(Photograph(name="a", picture=brown, stain=stain).variants())
    assert {each.stain for each in variants if each.name != "red-blue swap"} == {stain}
    assert [each.picture.size for each in variants if each.name.startswith("quarter")] == [(20, 10)] * 4
    assert {each.picture.size for each in variants if each.name.startswith("x")} == {
        (10, 5),
        (20, 10),
        (80, 40),
    }


def test_glass_is_not_cut_into_quarters(brown):
    names = [each.name for each in Photograph(name="a", picture=brown, stain=Stain.NONE).variants()]
    assert not any(name.startswith("quarter") for name in names)
