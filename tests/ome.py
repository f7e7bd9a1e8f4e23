"""Makes OME-TIFF files for tests, as tifffile lays them out: the pyramid below the first directory, then a label."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from openjpeg.utils import encode_array
from PIL import Image, ImageDraw

from tests.slides import FAKE_NAME, Made, photograph


def jpeg(tile: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=95, subsampling="4:2:0")
    return file.getvalue()


def j2k(tile: np.ndarray) -> bytes:
    return bytes(encode_array(tile, bits_stored=8, photometric_interpretation=1, use_mct=True))


def lzw(tile: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "TIFF", compression="tiff_lzw", tiffinfo={278: tile.shape[0]})
    file.seek(0)
    with tifffile.TiffFile(file) as made:
        page = made.pages[0]
        (start,), (length,) = page.dataoffsets, page.databytecounts
    return file.getvalue()[start : start + length]


#: name -> what tifffile is told, and who encodes a tile that it cannot
STORED: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], bytes] | None]] = {
    "plain": ({}, None),
    "deflate": ({"compression": "zlib"}, None),
    "deflate-predicted": ({"compression": "zlib", "predictor": 2}, None),
    "lzw": ({"compression": "zlib"}, lzw),
    "jpeg": ({"compression": "zlib", "extratags": [(530, 3, 2, (2, 2), True)]}, jpeg),
    "jpeg-2000": ({"compression": "zlib"}, j2k),
    "planes": ({"planarconfig": "separate"}, None),
    "planes-deflate": ({"planarconfig": "separate", "compression": "zlib"}, None),
}
#: tags that say what tifffile did not encode itself: 259 is the compression, 262 the photometric interpretation
SAID = {"lzw": {259: 5}, "jpeg": {259: 7, 262: 6}, "jpeg-2000": {259: 34712}}


def ome_tiff(
    path: Path, stored: str = "plain", *, width: int = 700, height: int = 500, tile: int = 128, levels: int = 3,
    microns: float | None = 0.5, unit: str = "µm", profile: bytes | None = None, big: bool = False,
) -> Made:  # fmt: skip
    options, encode = STORED[stored]
    image, shown = photograph(width, height), []
    for _ in range(levels):
        shown.append(np.asarray(image))
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    said: dict[str, Any] = {} if microns is None else {"PhysicalSizeX": microns, "PhysicalSizeXUnit": unit}
    said["UUID"] = "urn:uuid:00000000-0000-0000-0000-000000000001"  # the same file each time
    with tifffile.TiffWriter(path, bigtiff=big, ome=True) as file:
        for number, level in enumerate(shown):
            more: dict[str, Any] = {
                "photometric": "rgb",
                "tile": (tile, tile),
                "iccprofile": profile,
                **options,
            }
            if number == 0:
                separate = options.get("planarconfig") == "separate"
                more |= {"subifds": levels - 1, "metadata": {"axes": "CYX" if separate else "YXS", **said}}
            else:
                more |= {"subfiletype": 1, "metadata": None}
            if encode is not None:
                file.write(_encoded(level, tile, encode), shape=level.shape, dtype=np.uint8, **more)
            else:
                planes = np.moveaxis(level, -1, 0) if options.get("planarconfig") == "separate" else level
                file.write(np.ascontiguousarray(planes), **more)
        label = Image.new("RGB", (387, 463), "white")
        ImageDraw.Draw(label).text((10, 10), FAKE_NAME, fill="black")
        file.write(np.asarray(label), photometric="rgb", metadata={"axes": "YXS", "Name": "label"})
    _say(path, SAID.get(stored, {}))
    return Made(paths=(path,), levels=tuple(shown))


def _say(path: Path, tags: dict[int, int]) -> None:
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for page in (file.pages[0], *(file.pages[0].pages or ())):
            for code, value in tags.items():
                place = page.tags[code].valueoffset
                data[place : place + 2] = value.to_bytes(2, "little")
    path.write_bytes(data)


def _encoded(level: np.ndarray, tile: int, encode: Callable[[np.ndarray], bytes]) -> Iterator[bytes]:
    for top in range(0, level.shape[0], tile):
        for left in range(0, level.shape[1], tile):
            part = level[top : top + tile, left : left + tile]
            margins = ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0))
            yield encode(np.ascontiguousarray(np.pad(part, margins, mode="edge")))
