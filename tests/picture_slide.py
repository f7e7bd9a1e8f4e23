"""A slide that is a picture in memory: all the protocol asks, and no file."""

from __future__ import annotations

import hashlib

from PIL import Image

from worker.errors import RegionOutside
from worker.imaging.slide import Level
from worker.imaging.units import Box, MicronsPerPixel, Size


class PictureSlide:
    format = "picture"
    steps = ("from a picture",)

    def __init__(self, picture: Image.Image, spacing: float | None = 0.5) -> None:
        self._levels = [picture.convert("RGB")]
        while max(self._levels[-1].size) > 512:
            self._levels.append(self._levels[-1].reduce(2))
        self.spacing = None if spacing is None else MicronsPerPixel(spacing)
        self.reads: list[tuple[Box, Size]] = []

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self._levels[0].tobytes()).hexdigest()

    @property
    def levels(self) -> tuple[Level, ...]:
        widest = self._levels[0].width
        return tuple(
            Level(size=Size(width=each.width, height=each.height), downsample=widest / each.width)
            for each in self._levels
        )

    def read(self, box: Box, size: Size) -> Image.Image:
        whole = self._levels[0]
        if not box.is_inside(Size(width=whole.width, height=whole.height)):
            raise RegionOutside("The region does not lie on the slide.")
        self.reads.append((box, size))
        fitting = [
            each for each in self._levels if whole.width / each.width <= max(1, box.width / size.width)
        ]
        level = fitting[-1]
        across, down = level.width / whole.width, level.height / whole.height
        corners = (box.x * across, box.y * down, (box.x + box.width) * across, (box.y + box.height) * down)
        return level.resize((size.width, size.height), Image.Resampling.BOX, box=corners)

    def close(self) -> None: ...
