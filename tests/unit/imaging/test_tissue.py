"""Where the tissue is, on labelled tiles of real slides and on drawn ones; and that glass has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.drawn_slides import BLANK, CRUMBS, FAINT, GLASS, STRONG, TISSUE, Plan, drawn
from worker.imaging.tissue import tissue_mask

#: share of a tile from which on it counts as tissue, as who labelled the tiles saw it
TILE = 0.01
TISSUE_TILES = [
    "almost-white-2", "high-nuclei-score-level0", "high-nuclei-score-red-pen-level1", "low-nuclei-score-level0",
    "medium-nuclei-score-green-pen-level1", "medium-nuclei-score-level1", "tissue-level0-4302-10273-4814-10785",
    "tissue-level0-7352-11762-7864-12274", "very-low-nuclei-score-level0", "very-low-nuclei-score-red-pen-level1",
]  # fmt: skip
OTHER_TILES = [
    "almost-white-1", "no-tissue", "no-tissue2", "no-tissue-line", "no-tissue-green-pen", "no-tissue-red-pen",
]  # fmt: skip


def over(found, picture):
    """The mask, as large as its picture."""
    cells = np.ones((found.cell, found.cell), bool)
    return np.kron(found.mask, cells)[: picture.height, : picture.width]


def share_found(slide, part):
    return (over(tissue_mask(slide.picture), slide.picture) & part).sum() / part.sum()


def agreement(slide):
    found = over(tissue_mask(slide.picture), slide.picture)
    return (found & slide.tissue).sum() / (found | slide.tissue).sum()


@pytest.mark.parametrize(
    ("name", "has_tissue"), [(n, True) for n in TISSUE_TILES] + [(n, False) for n in OTHER_TILES]
)
def test_labelled_tiles_of_real_slides(shared_data, name, has_tissue):
    with Image.open(shared_data / "histology" / "histolab_tiles_qc" / f"{name}.png") as tile:
        assert (tissue_mask(tile.convert("RGB")).fraction >= TILE) is has_tissue


def test_tissue_under_a_pen_is_found_beside_the_ink(shared_data):
    folder = shared_data / "histology" / "histolab_tiles_qc"
    with Image.open(folder / "high-nuclei-score-red-pen-level1.png") as tile:
        found = tissue_mask(tile.convert("RGB"))
    assert found.fraction > 0.8
    assert 0.03 < found.ink < 0.2


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", BLANK)
def test_glass_has_no_tissue_whatever_lies_on_it(name, seed):
    found = tissue_mask(drawn(BLANK[name], seed).picture)
    assert found.fraction == 0.0
    assert not found.mask.any()


@settings(deadline=None, max_examples=25)
@given(
    level=st.integers(200, 255), tint=st.tuples(*[st.integers(-6, 0)] * 3), noise=st.floats(0, 5),
    seed=st.integers(0, 99), size=st.tuples(st.integers(64, 400), st.integers(64, 400)),
)  # fmt: skip
def test_glass_of_any_brightness_and_noise_has_none(level, tint, noise, seed, size):
    light = np.random.default_rng(seed).normal(0, noise, (*size, 3)) + level + np.array(tint)
    assert tissue_mask(Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))).fraction == 0.0


@pytest.mark.parametrize("name", TISSUE)
def test_drawn_tissue_is_found_and_little_else(name):
    assert agreement(drawn(TISSUE[name])) > 0.7


def test_the_faint_fragment_beside_the_strong_one_is_found_as_if_it_lay_alone():
    both = drawn(Plan(strong=[STRONG], faint=[FAINT]))
    alone = drawn(Plan(faint=[FAINT]))
    assert share_found(both, both.faint) > 0.6
    assert share_found(both, both.faint) == pytest.approx(share_found(alone, alone.faint), abs=0.15)


def test_small_fragments_are_kept_and_specks_are_not():
    crumbs = drawn(Plan(strong=CRUMBS))
    assert share_found(crumbs, crumbs.tissue) > 0.7
    specks = crumbs.picture.resize((128, 96)).convert("RGB")
    glass = Image.new("RGB", (2048, 1536), GLASS)
    glass.paste(specks.resize((256, 192)), (500, 500))
    assert tissue_mask(glass).fraction == 0.0


@pytest.mark.parametrize("ink", ["blue", "green", "red", "black"])
def test_ink_is_not_tissue_and_takes_little_tissue_with_it(ink):
    slide = drawn(replace(TISSUE["a large piece"], ink=ink), seed=1)
    found = over(tissue_mask(slide.picture), slide.picture)
    assert (found & slide.ink).sum() / slide.ink.sum() < 0.02
    assert (found & slide.tissue).sum() / slide.tissue.sum() > 0.75


def test_what_was_not_scanned_is_neither_tissue_nor_the_colour_of_glass():
    slide = drawn(TISSUE["a large piece"])
    whole = tissue_mask(slide.picture)
    for fill in ((255, 255, 255), (0, 0, 0)):
        wide = Image.new("RGB", (2 * slide.picture.width, slide.picture.height), fill)
        wide.paste(slide.picture, (0, 0))
        found = tissue_mask(wide)
        assert 2 * found.fraction == pytest.approx(whole.fraction, rel=0.2)  # its cells are twice as wide
        assert not found.mask[:, found.mask.shape[1] // 2 + 2 :].any()


def test_a_picture_that_is_all_tissue_is_all_tissue():
    from skimage.data import immunohistochemistry

    piece = Image.fromarray(immunohistochemistry()).crop((0, 0, 250, 250))
    assert tissue_mask(piece).fraction > 0.8


def test_the_same_picture_gives_the_same_mask_and_digest():
    picture = drawn(TISSUE["strong and faint"]).picture
    first, again = tissue_mask(picture), tissue_mask(picture.copy())
    assert (first.mask == again.mask).all()
    assert first.digest == again.digest
    assert first.digest.startswith("sha256:")
    assert len(first.digest) == 71
    assert tissue_mask(drawn(TISSUE["strong and faint"], seed=1).picture).digest != first.digest


def test_a_mask_of_nothing_is_another_for_another_size():
    digests = {tissue_mask(Image.new("RGB", size, GLASS)).digest for size in ((40, 20), (20, 40), (800, 1))}
    assert len(digests) == 3


def test_a_mask_has_at_most_512_cells_a_side_and_covers_the_picture():
    for size in ((512, 300), (513, 300), (1024, 77), (3001, 1999)):
        found = tissue_mask(Image.new("RGB", size, GLASS))
        rows, columns = found.mask.shape
        assert max(rows, columns) <= 512
        assert columns * found.cell >= size[0]
        assert rows * found.cell >= size[1]
