"""Tissue: where nuclei, cytoplasm, fibres and gaps lie in a drawn tile.

In: a random generator and a size. Out: maps of amounts between 0 and about 1, one a structure. It knows
no colours: what a dye makes of the maps is for `dyes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Map = NDArray[np.float32]

#: more nuclei than this are drawn as blotches, which look the same when they are small
_MOST_ELLIPSES: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    nuclei: Map
    cytoplasm: Map
    fibres: Map
    #: thin lines between cells: membranes, septa
    membranes: Map
    #: 1 where there is tissue, 0 on bare glass, lumina and tears
    presence: Map


def as_map(amounts: Any) -> Map:
    """The type checker's proof that arithmetic on maps gives a map."""
    checked: Map = np.asarray(amounts, dtype=np.float32)
    return checked


def smooth(rng: np.random.Generator, shape: tuple[int, int], grain: float, stretch: float = 1.0) -> Map:
    """Noise between 0 and 1 whose blotches are about `grain` pixels wide and `stretch` times as long."""
    height, width = shape
    cells = (int(height / grain) + 3, int(width / (grain * stretch)) + 3)
    small = Image.fromarray(rng.random(cells, dtype=np.float32))
    offset = rng.random(2)
    box = (offset[1], offset[0], offset[1] + width / (grain * stretch), offset[0] + height / grain)
    large = small.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return as_map(np.clip(np.asarray(large), 0, 1))


def layered(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> Map:
    """Noise of three grains on top of each other."""
    return as_map(
        0.5 * smooth(rng, shape, grain)
        + 0.3 * smooth(rng, shape, max(1.5, grain / 3))
        + 0.2 * smooth(rng, shape, max(1.0, grain / 8))
    )


def lines(field: Map, level: float, width: float) -> Map:
    """Thin lines where a smooth field crosses a level."""
    return as_map(np.exp(-(((field - level) / width) ** 2)))


def draw_tissue(rng: np.random.Generator, shape: tuple[int, int]) -> Tissue:
    """A field of view at any magnification from an overview to a few cells."""
    radius = float(np.exp(rng.uniform(np.log(0.7), np.log(13))))
    presence = _presence(rng, shape, radius)
    nuclei = _nuclei(rng, shape, radius)
    return Tissue(
        nuclei=nuclei * presence,
        cytoplasm=layered(rng, shape, rng.uniform(3, 30)) * presence,
        fibres=_fibres(rng, shape, radius) * presence,
        membranes=lines(
            smooth(rng, shape, max(2.0, radius * rng.uniform(1.5, 4))), 0.5, rng.uniform(0.03, 0.12)
        )
        * presence,
        presence=presence,
    )


def _presence(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> Map:
    kind = rng.choice(["full", "gaps", "edge", "fat", "pieces", "lumina"], p=[0.36, 0.2, 0.14, 0.1, 0.1, 0.1])
    everywhere = np.ones(shape, dtype=np.float32)
    if kind == "full":
        return everywhere
    if kind == "fat":
        field = smooth(rng, shape, rng.uniform(6, 22))
        return as_map(np.clip(lines(field, 0.5, rng.uniform(0.03, 0.09)) * 1.3, 0, 1))
    if kind == "lumina":
        return everywhere - _ellipses(rng, shape, radius * rng.uniform(2, 6), int(rng.integers(1, 7)))
    if kind == "edge":
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        across = (rows / shape[0] - 0.5) * np.sin(angle) + (columns / shape[1] - 0.5) * np.cos(angle)
        field = across + 0.25 * smooth(rng, shape, rng.uniform(4, 20))
        level = float(np.quantile(field, rng.uniform(0.1, 0.7)))
        return _step(field - level, 0.02)
    field = layered(rng, shape, rng.uniform(4, 40))
    missing = rng.uniform(0.08, 0.4) if kind == "gaps" else rng.uniform(0.4, 0.85)
    return _step(field - float(np.quantile(field, missing)), rng.uniform(0.01, 0.06))


def _step(field: Map, softness: float) -> Map:
    return as_map(np.clip(field / softness, 0, 1))


def _nuclei(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> Map:
    share = float(np.exp(rng.uniform(np.log(0.01), np.log(0.6))))
    count = int(share * shape[0] * shape[1] / (np.pi * radius**2)) + 1
    crowding = smooth(rng, shape, rng.uniform(15, 60)) if rng.random() < 0.5 else None
    if radius > 1.8 and count <= _MOST_ELLIPSES:
        nuclei = _ellipses(rng, shape, radius, count)
    else:
        field = smooth(rng, shape, max(1.2, radius * 2), stretch=rng.uniform(1, 2))
        nuclei = _step(field - float(np.quantile(field, 1 - min(share, 0.6))), rng.uniform(0.05, 0.25))
    if crowding is not None:
        nuclei = nuclei * np.clip(crowding * 2.2 - 0.4, 0, 1)
    chromatin = 1 - rng.uniform(0, 0.6) * smooth(rng, shape, max(1.2, radius / 3))
    return nuclei * chromatin


def _ellipses(rng: np.random.Generator, shape: tuple[int, int], radius: float, count: int) -> Map:
    """Soft ellipses of about one size, each drawn into its own window."""
    field = np.zeros(shape, dtype=np.float32)
    elongation, edge = rng.uniform(1, 2.2), rng.uniform(1.2, 6)
    for _ in range(count):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        minor = radius * rng.uniform(0.7, 1.2)
        major, angle = minor * rng.uniform(1, elongation), rng.uniform(0, np.pi)
        top, left = max(0, int(row - major - 1)), max(0, int(column - major - 1))
        window = field[top : int(row + major + 2), left : int(column + major + 2)]
        y = np.arange(window.shape[0], dtype=np.float32)[:, None] + (top - row)
        x = np.arange(window.shape[1], dtype=np.float32)[None, :] + (left - column)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = np.clip((1 - (along / major) ** 2 - (across / minor) ** 2) * edge, 0, 1)
        np.maximum(window, inside * rng.uniform(0.6, 1), out=window)
    return field


def _fibres(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> Map:
    side = int(np.hypot(*shape)) + 2
    grain = max(1.5, radius * rng.uniform(0.3, 1.2))
    sheet = Image.fromarray(smooth(rng, (side, side), grain, stretch=rng.uniform(3, 12)))
    turned = sheet.rotate(rng.uniform(0, 180), Image.Resampling.BILINEAR)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    return np.asarray(turned.crop((left, top, left + shape[1], top + shape[0])), dtype=np.float32)
