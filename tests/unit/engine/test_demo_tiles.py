"""What a drawn tile promises: its label, its size, the same picture for the same seed, no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from worker.engine.models.demo.__main__ import main
from worker.engine.models.demo.tiles import Stain, draw_tile


def mean_density(stain, seed):
    pixels = draw_tile(np.random.default_rng(seed), 112, 112, stain).pixels
    return -np.log((pixels.astype(float) + 1) / 256).mean(axis=(0, 1))


def test_the_same_generator_state_draws_the_same_tile():
    first, second = (draw_tile(np.random.default_rng(7), 112, 112) for _ in range(2))
    assert first.stain is second.stain
    assert np.array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("stain", list(Stain))
@pytest.mark.parametrize("size", [(56, 168), (300, 40), (257, 129)])
def test_a_tile_has_the_size_and_the_stain_that_were_asked_for(stain, size):
    tile = draw_tile(np.random.default_rng(1), *size, stain)
    assert tile.stain is stain
    assert tile.pixels.shape == (size[1], size[0], 3)
    assert tile.pixels.dtype == np.uint8


def test_every_stain_is_drawn_when_none_is_asked_for():
    assert {draw_tile(np.random.default_rng(seed), 28, 28).stain for seed in range(60)} == set(Stain)


def test_hematoxylin_and_eosin_absorbs_most_green_and_the_brown_chromogen_more_blue_than_red():
    pink = np.mean([mean_density(Stain.HE, seed) for seed in range(40)], axis=0)
    brown = np.mean([mean_density(Stain.DAB, seed) for seed in range(40)], axis=0)
    assert pink.argmax() == 1
    assert brown[2] > brown[0]


def test_glass_is_brighter_than_tissue():
    glass, pink = (
        np.mean([mean_density(stain, seed) for seed in range(40)]) for stain in (Stain.NONE, Stain.HE)
    )
    assert glass < pink / 2


def test_draw_writes_tiles_and_their_labels(tmp_path, capsys):
    assert main(["draw", "--out", str(tmp_path), "--count", "5", "--seed", "3", "--size", "64"]) == 0
    labels = json.loads((tmp_path / "labels.json").read_text(encoding="utf-8"))
    assert len(labels) == 5
    assert set(labels.values()) == {stain.value for stain in Stain}
    for name in labels:
        with Image.open(tmp_path / name) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
    assert "5 tiles" in capsys.readouterr().out


def test_drawing_needs_no_torch(tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from worker.engine.models.demo.__main__ import main\n"
        f"sys.exit(main(['draw', '--out', {str(tmp_path)!r}, '--count', '1']))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0


def test_the_help_of_every_program_says_what_it_does(capsys):
    for command in ("train", "evaluate", "draw"):
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        assert "--seed" in capsys.readouterr().out
