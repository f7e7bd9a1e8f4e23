"""Overviews of slides that are drawn, so that it is known where the tissue is.

Glass with noise and uneven light, pieces with the texture of a real photograph in the colours of stains
(Ruifrok and Johnston 2001), ink, black borders, dirt, the edge of a cover slip; then JPEG, as scanners store it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (1024, 768)
GLASS = (242, 240, 243)
#: optical density of red, green and blue
STAINS = {"H&E": (0.40, 0.85, 0.45), "DAB": (0.27, 0.57, 0.78), "haematoxylin": (0.65, 0.60, 0.29)}
INKS = {"blue": (30, 60, 165), "green": (20, 140, 95), "red": (205, 25, 45), "black": (34, 32, 36)}


@dataclass
class Drawn:
    """A picture and, of its size, where the tissue, its faint part and the ink are."""

    picture: Image.Image
    tissue: np.ndarray
    faint: np.ndarray
    ink: np.ndarray


@dataclass
class Plan:
    """Pieces are (x, y, width, height) in shares of the slide; what is faint has less of the dye."""

    strong: list[tuple[float, float, float, float]] = field(default_factory=list)
    faint: list[tuple[float, float, float, float]] = field(default_factory=list)
    stain: str = "H&E"
    ink: str = ""
    border: bool = False
    dirt: bool = False
    noise: float = 2.0
    #: dye of what is faint, in parts of the strong one's
    strength: float = 0.2


STRONG = (0.12, 0.15, 0.38, 0.6)
FAINT = (0.6, 0.3, 0.25, 0.35)
CORES = [(0.1, 0.2 + 0.2 * n, 0.7, 0.035) for n in range(3)]
CRUMBS = [(0.2 + 0.25 * n, 0.3 + 0.2 * (n % 2), 0.03, 0.035) for n in range(3)]

TISSUE = {
    "a large piece": Plan(strong=[STRONG]),
    "strong and faint": Plan(strong=[STRONG], faint=[FAINT]),
    "strong and very faint": Plan(strong=[STRONG], faint=[FAINT], strength=0.1),
    "only faint": Plan(faint=[FAINT]),
    "needle cores": Plan(strong=CORES),
    "crumbs": Plan(strong=CRUMBS),
    "pale nuclei": Plan(strong=[STRONG], stain="haematoxylin", strength=0.3),
    "brown": Plan(strong=[STRONG], faint=[FAINT], stain="DAB"),
    "a black border": Plan(strong=[STRONG], border=True),
    "dirt": Plan(strong=[STRONG], dirt=True),
    **{f"{ink} ink": Plan(strong=[STRONG], ink=ink) for ink in INKS},
}
BLANK = {
    "glass": Plan(),
    "noisy glass": Plan(noise=5.0),
    "dirt on glass": Plan(dirt=True),
    "a black border on glass": Plan(border=True),
    **{f"{ink} ink on glass": Plan(ink=ink) for ink in INKS},
}


def drawn(plan: Plan, seed: int = 0, size: tuple[int, int] = SIZE) -> Drawn:
    random = np.random.default_rng(seed)
    width, height = size
    light = np.array(GLASS, float) + np.linspace(-3, 2, width)[None, :, None] * np.ones((height, 1, 1))
    strong, faint = (_pieces(boxes, size, random) for boxes in (plan.strong, plan.faint))
    dye = _texture(size, random)[..., None] * np.array(STAINS[plan.stain])
    light = light * 10 ** -(dye * (strong + plan.strength * (faint & ~strong))[..., None])
    if plan.dirt:
        light = _with_dirt(light, random)
    ink = np.zeros((height, width), bool)
    if plan.ink:
        light, ink = _with_ink(light, plan.ink, random)
    if plan.border:
        light[: height // 20] = light[:, -width // 16 :] = (8, 8, 9)
    light += random.normal(0, plan.noise, light.shape)
    memory = io.BytesIO()
    Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).save(memory, "JPEG", quality=85)
    shown = ~ink
    if plan.border:
        shown[: height // 20] = shown[:, -width // 16 :] = False
    return Drawn(
        picture=Image.open(memory).convert("RGB"),
        tissue=(strong | faint) & shown,
        faint=faint & ~strong & shown,
        ink=ink,
    )


def _pieces(boxes, size, random):
    """Ellipses with ragged edges."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    ragged = _field(size, random, 24)
    inside = np.zeros((height, width), bool)
    for left, top, wide, high in boxes:
        across = (x / width - left - wide / 2) / (wide / 2)
        down = (y / height - top - high / 2) / (high / 2)
        inside |= across**2 + down**2 + 0.5 * ragged < 1
    return inside


def _texture(size, random):
    """Around 0.35, from a photograph of a colon: glands, nuclei and, at times, the lumen."""
    from skimage.data import immunohistochemistry

    grey = Image.fromarray(immunohistochemistry()).convert("L").reduce(8)
    tile = np.asarray(grey, float)
    density = np.log10(235 / np.maximum(tile, 1)).clip(0.03)
    rows, columns = -(-size[1] // len(density)), -(-size[0] // len(density))
    mosaic = np.block([[density[:: random.choice([-1, 1])] for _ in range(columns)] for _ in range(rows)])
    return mosaic[: size[1], : size[0]] / density.mean() * 0.35


def _field(size, random, cell):
    """Smooth noise, about -1 to 1."""
    width, height = size
    coarse = random.normal(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def _with_ink(light, ink, random):
    """A ring and a stroke of a felt pen, a little transparent, with a soft rim."""
    height, width = light.shape[:2]
    stroke = Image.new("L", (width, height))
    pen = ImageDraw.Draw(stroke)
    pen.ellipse((0.70 * width, 0.12 * height, 0.92 * width, 0.4 * height), outline=255, width=14)
    pen.line(
        [(0.05 * width, 0.9 * height), (0.3 * width, 0.8 * height), (0.62 * width, 0.92 * height)], 255, 18
    )
    cover = np.asarray(stroke.filter(ImageFilter.GaussianBlur(2)), float)[..., None] / 255
    cover = cover * (0.88 + 0.06 * _field((width, height), random, 40).clip(-1, 1)[..., None])
    return light * (1 - cover) + np.array(INKS[ink]) * cover, np.asarray(stroke) > 0


def _with_dirt(light, random):
    """Dust, a hair, a bubble and the edge of a cover slip: all of them grey."""
    height, width = light.shape[:2]
    shade = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(shade)
    draw.rectangle((0, 0, int(0.06 * width), height), fill=243)
    draw.line([(0.06 * width, 0), (0.06 * width, height)], 120, 2)
    for x, y, r in random.uniform((0.1, 0.05, 1), (0.95, 0.95, 4), (25, 3)):
        draw.ellipse((x * width - r, y * height - r, x * width + r, y * height + r), fill=int(60 + 20 * r))
    draw.arc((0.55 * width, 0.5 * height, 0.8 * width, 0.95 * height), 0, 200, fill=70, width=2)
    draw.ellipse((0.65 * width, 0.7 * height, 0.72 * width, 0.8 * height), outline=130, width=3)
    return light * np.asarray(shade.filter(ImageFilter.GaussianBlur(0.7)), float)[..., None] / 255
