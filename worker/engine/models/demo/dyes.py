"""Dyes: what a stain makes of tissue, as optical density in red, green and blue (Beer-Lambert).

In: a random generator and tissue maps. Out: optical density, height x width x 3. The directions lie
between the textbook vectors (Ruifrok and Johnston 2001) and what microscopes and scanners record, which
differs from the textbook most of all for eosin. It knows no camera.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.engine.models.demo.tissue import Map, Tissue, as_map, smooth

#: share of H&E where nuclei are so many or so small that a region is violet as a whole
_CROWDED: Final = 0.2
#: share of empty fields with a scrap of tissue at the border
_SCRAP: Final = 0.15

Density = NDArray[np.float32]
Rng = np.random.Generator
Dye = Callable[[Rng, Tissue], Density]

_HEMATOXYLIN: Final = (
    (0.65, 0.70, 0.29),
    (0.49, 0.77, 0.41),
    (0.50, 0.79, 0.35),
    (0.56, 0.72, 0.41),
    (0.58, 0.64, 0.50),
    (0.68, 0.66, 0.32),
)
_EOSIN: Final = (
    (0.07, 0.99, 0.11),
    (0.22, 0.80, 0.56),
    (0.15, 0.90, 0.40),
    (0.30, 0.76, 0.57),
    (0.09, 0.84, 0.53),
)
_COUNTERSTAIN: Final = (
    (0.75, 0.60, 0.28),
    (0.70, 0.62, 0.35),
    (0.78, 0.57, 0.22),
    (0.66, 0.66, 0.36),
    (0.72, 0.58, 0.38),
)
_DAB: Final = (
    (0.27, 0.57, 0.78),
    (0.20, 0.48, 0.85),
    (0.38, 0.57, 0.73),
    (0.45, 0.58, 0.68),
    (0.30, 0.60, 0.74),
)
_COLLAGEN: Final = (
    (0.88, 0.45, 0.12),
    (0.80, 0.25, 0.55),
    (0.90, 0.35, 0.30),
    (0.85, 0.20, 0.48),
)
_SCARLET: Final = (
    (0.10, 0.80, 0.59),
    (0.15, 0.72, 0.67),
    (0.08, 0.90, 0.42),
    (0.30, 0.75, 0.59),
    (0.10, 0.70, 0.70),
)
_SILVER: Final = (
    (0.56, 0.58, 0.60),
    (0.50, 0.57, 0.65),
    (0.60, 0.58, 0.55),
    (0.57, 0.58, 0.58),
    (0.55, 0.58, 0.60),
)
_COUNTER_OTHER: Final = (
    (0.20, 0.65, 0.55),
    (0.10, 0.45, 0.85),
    (0.60, 0.20, 0.60),
    (0.25, 0.60, 0.50),
    (0.15, 0.50, 0.80),
)


def direction(rng: Rng, corners: tuple[tuple[float, float, float], ...], spread: float = 0.03) -> Density:
    """A unit vector somewhere between some measured ones."""
    mixed = rng.dirichlet([0.6] * len(corners)) @ np.asarray(corners) + rng.normal(0, spread, 3)
    mixed = np.clip(mixed, 0.03, None)
    return as_map(mixed / np.linalg.norm(mixed))


def hematoxylin_and_eosin(rng: Rng, tissue: Tissue) -> Density:
    """Blue to purple nuclei on pink; anything from mostly purple to mostly pink."""
    blue, pink = direction(rng, _HEMATOXYLIN), direction(rng, _EOSIN)
    dark, strong = _between(rng, 0.4, 2.2), _between(rng, 0.12, 1.3)
    share = rng.uniform(0.1, 1)
    body = share * tissue.cytoplasm + (1 - share) * tissue.fibres + rng.uniform(0.05, 0.35) * tissue.presence
    body = body + rng.uniform(0, 0.5) * tissue.membranes
    haze = rng.choice([0.0, rng.uniform(0, 0.35), rng.uniform(0.3, 1.2)], p=[0.3, 0.45, 0.25])
    density = _stain(tissue.nuclei * dark + body * strong * haze * 0.6, blue)
    density += _stain(body * strong * (1 - 0.6 * np.clip(tissue.nuclei, 0, 1)), pink)
    if rng.random() < _CROWDED:
        crowd = _patches(rng, tissue, rng.uniform(0.2, 1)) * (0.7 + 0.3 * tissue.cytoplasm)
        density *= 1 - 0.5 * np.clip(crowd, 0, 1)[..., None]
        density += _stain(as_map(crowd * _between(rng, 0.3, 1.5)), blue)
    if rng.random() < 0.25:
        red = direction(rng, ((0.05, 0.75, 0.66), (0.10, 0.88, 0.46), (0.12, 0.70, 0.70)))
        density += _stain(_patches(rng, tissue, rng.uniform(0.02, 0.2)) * rng.uniform(0.4, 1.4), red)
    return density


def immunohistochemistry(rng: Rng, tissue: Tissue) -> Density:
    """Brown chromogen in nuclei, membranes or cytoplasm, on a pale blue counterstain; some sparse.

    None is without chromogen: a counterstain alone does not say that an antibody was used.
    """
    blue, brown = direction(rng, _COUNTERSTAIN), direction(rng, _DAB)
    pale = _between(rng, 0.1, 1.1)
    background = rng.uniform(0, 0.22) * (0.5 * tissue.cytoplasm + 0.5 * tissue.fibres + 0.2 * tissue.presence)
    density = _stain(tissue.nuclei * pale + background * rng.uniform(0, 1), blue)
    density += _stain(background * rng.uniform(0.05, 0.8), brown)
    strength = _between(rng, 0.35, 2.8)
    where = _chromogen(rng, tissue)
    density *= 1 - 0.5 * np.clip(where * strength, 0, 1)[..., None]
    return density + _stain(where * strength, brown)


def _chromogen(rng: Rng, tissue: Tissue) -> Map:
    pattern = rng.choice(["nuclear", "membranous", "cytoplasmic", "diffuse", "mixed"])
    region = _patches(
        rng, tissue, float(rng.choice([rng.uniform(0.02, 0.15), rng.uniform(0.15, 1.0)], p=[0.3, 0.7]))
    )
    if pattern == "nuclear":
        return tissue.nuclei * region + 0.08 * tissue.cytoplasm * region
    if pattern == "membranous":
        return (tissue.membranes + rng.uniform(0, 0.3) * tissue.cytoplasm) * region
    if pattern == "cytoplasmic":
        return as_map(tissue.cytoplasm * region * (1 - rng.uniform(0, 1) * np.clip(tissue.nuclei, 0, 1)))
    if pattern == "diffuse":
        everywhere = np.clip(region + rng.uniform(0, 0.5), 0, 1)
        return as_map((0.6 * tissue.cytoplasm + 0.4 * tissue.fibres) * everywhere)
    mixed = tissue.cytoplasm + tissue.membranes * 0.5 + tissue.nuclei * rng.uniform(0, 1)
    return as_map(mixed * 0.6 * region)


def connective_tissue_stain(rng: Rng, tissue: Tissue) -> Density:
    """Blue or green collagen beside red cytoplasm, as in the trichromes."""
    collagen, red, dark = direction(rng, _COLLAGEN), direction(rng, _SCARLET), direction(rng, _HEMATOXYLIN)
    region = _patches(rng, tissue, rng.uniform(0.35, 0.9))
    density = _stain(tissue.fibres * region * _between(rng, 0.9, 2.0), collagen)
    density += _stain(tissue.cytoplasm * (1 - region) * tissue.presence * _between(rng, 0.3, 1.0), red)
    return density + _stain(tissue.nuclei * rng.uniform(0.2, 1.3), dark)


def silver(rng: Rng, tissue: Tissue) -> Density:
    """Black and grey on a colourless or yellowish ground; also what a picture without colours looks like."""
    grey = direction(rng, _SILVER, spread=0.01)
    body = rng.uniform(0.1, 1) * tissue.fibres + rng.uniform(0, 0.6) * tissue.cytoplasm
    return _stain(body * _between(rng, 0.4, 1.6) + tissue.nuclei * rng.uniform(0.1, 1.6), grey)


def single_colour(rng: Rng, tissue: Tissue) -> Density:
    """Strong blue or green structures on another pale colour: iron, mucin and dyes of that kind."""
    strong = direction(rng, ((0.90, 0.40, 0.10), (0.88, 0.20, 0.42), (0.80, 0.30, 0.52), (0.95, 0.28, 0.15)))
    pale = direction(rng, _COUNTER_OTHER)
    region = _patches(rng, tissue, rng.uniform(0.25, 0.9))
    density = _stain((tissue.cytoplasm + 0.5 * tissue.membranes) * region * _between(rng, 0.5, 1.8), strong)
    weak = tissue.nuclei + rng.uniform(0, 0.4) * tissue.fibres
    return density + _stain(weak * (1 - region) * rng.uniform(0.1, 0.8), pale)


def nothing(rng: Rng, shape: tuple[int, int]) -> Density:
    """Bare glass, with dust, a line, or a scrap of tissue too small to read."""
    density = np.zeros((*shape, 3), dtype=np.float32)
    haze = direction(rng, ((0.5, 0.6, 0.6), (0.6, 0.6, 0.5), (0.58, 0.58, 0.58)))
    density += _stain(smooth(rng, shape, rng.uniform(10, 80)) * rng.uniform(0, 0.06), haze)
    if rng.random() < 0.4:
        field = smooth(rng, shape, rng.uniform(1.2, 4))
        density += _stain((field > rng.uniform(0.93, 0.995)) * rng.uniform(0.05, 0.6), haze)
    if rng.random() < _SCRAP:
        density += _scrap(rng, shape)
    if rng.random() < 0.2:
        field = smooth(rng, shape, rng.uniform(50, 120))
        density += _stain(
            np.exp(-(((field - 0.5) / rng.uniform(0.004, 0.015)) ** 2)) * rng.uniform(0.1, 1.2), haze
        )
    return density


def _scrap(rng: Rng, shape: tuple[int, int]) -> Density:
    """Pink or brown in at most a twentieth of the field, at its border."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    corner = rng.integers(2, size=2)
    reach = rng.uniform(0.08, 0.22)
    away = np.hypot(rows / shape[0] - corner[0], columns / shape[1] - corner[1])
    ragged = away + 0.15 * (smooth(rng, shape, rng.uniform(3, 12)) - 0.5)
    dye = direction(rng, _EOSIN if rng.random() < 0.7 else _DAB)
    return _stain(np.clip((reach - ragged) * 30, 0, 1) * _between(rng, 0.1, 0.6), dye)


def _patches(rng: Rng, tissue: Tissue, share: float) -> Map:
    field = smooth(rng, tissue.presence.shape, rng.uniform(5, 50))
    level = float(np.quantile(field, 1 - share)) if share < 1 else -1.0
    return as_map(np.clip((field - level) / rng.uniform(0.02, 0.3), 0, 1) * tissue.presence)


def _stain(amount: Map, dye: Density) -> Density:
    return as_map(np.asarray(amount, dtype=np.float32)[..., None] * dye)


def _between(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
