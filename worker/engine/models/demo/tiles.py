"""Tiles: histology-like pictures that were never alive, each with the name of its stain.

In: a random generator, a size and, if wanted, a stain. Out: a `Tile`. The same generator state draws the
same tile. It knows no questions and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from worker.engine.models.demo import dyes
from worker.engine.models.demo.camera import Pixels, photograph
from worker.engine.models.demo.dyes import Density
from worker.engine.models.demo.tissue import draw_tissue

Rng = np.random.Generator


class Stain(StrEnum):
    """What a tile can be stained with; the value is the phrase that the model answers."""

    HE = "Hematoxylin and eosin"
    DAB = "Immunohistochemistry with DAB"
    NONE = "No tissue"
    OTHER = "Other stain"


_SHARES: Final = {Stain.HE: 0.33, Stain.DAB: 0.26, Stain.NONE: 0.16, Stain.OTHER: 0.25}

#: Orders of the channels that no laboratory's H&E, and no laboratory's DAB, looks like. H&E with red and
#: blue exchanged is not among them: violet H&E exists and looks the same.
_WRONG_ORDERS: Final = {
    Stain.HE: ((1, 0, 2), (1, 2, 0)),
    Stain.DAB: ((2, 1, 0), (2, 1, 0), (2, 1, 0), (2, 0, 1), (1, 0, 2)),
}
#: Optical density that the darkest twentieth of a tile reaches, or it shows too little to be called stained.
_FAINTEST: Final = 0.15
#: How much more blue than red the brownest thirtieth absorbs, or no chromogen is to be seen.
_BROWN: Final = 0.12
#: A wrong order shows only where one colour leads: absorbed green over absorbed red (blue over red for DAB).
_LEADS: Final = {Stain.HE: (1, 1.4), Stain.DAB: (2, 1.25)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    pixels: Pixels
    stain: Stain


def draw_tile(rng: Rng, width: int, height: int, stain: Stain | None = None) -> Tile:
    """One tile; without `stain` the generator picks one."""
    chosen = stain or Stain(rng.choice(list(_SHARES), p=list(_SHARES.values())))
    shape = (height, width)
    if chosen is Stain.OTHER:
        return Tile(pixels=_other(rng, shape), stain=chosen)
    if chosen is Stain.NONE:
        glass = photograph(rng, dyes.nothing(rng, shape), colour=rng.uniform(0.1, 0.7))
        return Tile(pixels=glass, stain=chosen)
    return Tile(pixels=photograph(rng, _stained(rng, shape, chosen)), stain=chosen)


def _stained(rng: Rng, shape: tuple[int, int], stain: Stain) -> Density:
    if stain is Stain.HE:
        return _visible(rng, shape, dyes.hematoxylin_and_eosin)
    while True:
        density = _visible(rng, shape, dyes.immunohistochemistry)
        if float(np.quantile(density[..., 2] - density[..., 0], 0.97)) > _BROWN:
            return density


def _visible(rng: Rng, shape: tuple[int, int], dye: dyes.Dye) -> Density:
    while True:
        density = dye(rng, draw_tissue(rng, shape))
        if float(np.quantile(density.mean(axis=2), 0.95)) > _FAINTEST:
            return density


def _other(rng: Rng, shape: tuple[int, int]) -> Pixels:
    if rng.random() < 0.5:
        stain = Stain.HE if rng.random() < 0.3 else Stain.DAB
        return _wrong_colours(rng, shape, stain)
    dye = (dyes.connective_tissue_stain, dyes.silver, dyes.single_colour)[int(rng.integers(3))]
    # Grey is what tells silver from a brown chromogen, so a warm lamp must not colour it much.
    colour = rng.uniform(0, 0.2) if dye is dyes.silver else 1.0
    return photograph(rng, _visible(rng, shape, dye), colour=colour)


def _wrong_colours(rng: Rng, shape: tuple[int, int], stain: Stain) -> Pixels:
    """A tile whose channels came in another order, drawn again until the mistake can be seen."""
    orders = _WRONG_ORDERS[stain]
    order = orders[int(rng.integers(len(orders)))]
    channel, times = _LEADS[stain]
    while True:
        density = _stained(rng, shape, stain)
        absorbed = density.mean(axis=(0, 1))
        if absorbed[channel] > times * absorbed[0]:
            return np.ascontiguousarray(photograph(rng, density)[..., order])
