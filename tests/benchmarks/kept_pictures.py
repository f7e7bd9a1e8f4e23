"""What it costs to keep a picture that a model was shown: our own PNG beside Pillow's (docs/decisions/0024).

    python -m tests.benchmarks.kept_pictures

A drawn tissue of 1008 x 1008 pixels, and blank glass of the same size. CPU milliseconds of the thread, the best of
five, and the bytes of the file.
"""

from __future__ import annotations

import io
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from tests.benchmarks import machine
from worker.engine.models.demo.tiles import draw_tile
from worker.imaging.png import png_of

SIDE, TIMES = 1008, 5

PICTURES = {
    "tissue": Image.fromarray(draw_tile(np.random.default_rng(1), SIDE, SIDE).pixels),
    "blank glass": Image.new("RGB", (SIDE, SIDE), "white"),
}


def pillow(picture: Image.Image, strategy: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1, compress_type=strategy)
    return file.getvalue()


WRITERS: dict[str, Callable[[Image.Image], bytes]] = {
    "Pillow, level 1": partial(pillow, strategy=zlib.Z_DEFAULT_STRATEGY),
    "Pillow, level 1, runs only": partial(pillow, strategy=zlib.Z_RLE),
    "worker.imaging.png": png_of,
}


def cost(write: Callable[[Image.Image], bytes], picture: Image.Image) -> tuple[float, int]:
    """CPU milliseconds, bytes."""
    spent = list[float]()
    for _ in range(TIMES):
        began = time.thread_time()
        written = write(picture)
        spent.append(time.thread_time() - began)
    return 1000 * min(spent), len(written)


def main() -> int:
    print(machine.printed(machine.described("tests.benchmarks.kept_pictures", sys.argv[1:])))
    print("\n| picture | writer | CPU ms | kB |\n|---|---|---|---|")
    for name, picture in PICTURES.items():
        for writer, write in WRITERS.items():
            milliseconds, size = cost(write, picture)
            print(f"| {name} | {writer} | {milliseconds:.0f} | {size / 1000:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
