"""Opening a slide of four levels and reading four windows of 1024 x 1024, in milliseconds.

    python -m tests.benchmarks.slide_windows --times 7

In: nothing but this repository. Out: the least and the median of some runs, for our reader as the worker uses it
and, as a yardstick, for wsidicom's own and OpenSlide on the same files. The libraries are loaded before. The
windows are converted to sRGB by the slide's profile where the reader does that; OpenSlide and wsidicom do not.
`choosing` is all that a worker's decoder does for a slide of which no region was asked for: tissue mask, choice,
overview and four windows at the largest level's own resolution.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import openslide
from wsidicom import WsiDicom

from tests.benchmarks.databases import machine
from tests.slides import Made, Recipe, aperio_tiff, dicom_series
from worker.imaging.looking import look
from worker.imaging.slides import open_slide
from worker.imaging.supply import OnDisk
from worker.imaging.units import Box, Magnification, Size
from worker.imaging.wanted import Limits, Wanted

SIDE = 1024
LIMITS = Limits(max_pixels=100_000_000, max_bytes=512 * 1024 * 1024)
Read = Callable[[Made, list[tuple[int, int]]], None]


def ours(made: Made, places: list[tuple[int, int]]) -> None:
    slide = open_slide(OnDisk(paths=made.paths), LIMITS)
    assert slide is not None
    with closing(slide):
        for x, y in places:
            slide.read(Box(x=x, y=y, width=SIDE, height=SIDE), Size(width=SIDE, height=SIDE))


def choosing(made: Made, _: list[tuple[int, int]]) -> None:
    seen = look(OnDisk(paths=made.paths), Wanted(number=0, limits=LIMITS, magnification=Magnification(20)))
    assert [(one.record.width, one.record.height) for one in seen[1:]] == [(SIDE, SIDE)] * 4


def wsidicoms(made: Made, places: list[tuple[int, int]]) -> None:
    with WsiDicom.open(made.paths) as slide:
        for place in places:
            slide.read_region(place, 0, (SIDE, SIDE))


def openslides(made: Made, places: list[tuple[int, int]]) -> None:
    with openslide.OpenSlide(made.paths[0]) as slide:
        for place in places:
            slide.read_region(place, 0, (SIDE, SIDE)).convert("RGB")


def milliseconds(read: Read, made: Made, places: list[tuple[int, int]], times: int) -> list[float]:
    took = []
    for _ in range(times + 1):  # the first fills caches of the system
        begun = time.perf_counter()
        read(made, places)
        took.append((time.perf_counter() - begun) * 1000)
    return took[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--side", type=int, default=4096, help="of the largest level, in pixels")
    options = parser.parse_args()
    far = options.side - SIDE
    places = [(0, 0), (far, 0), (far // 3, far // 2), (far, far)]
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        size = {"width": options.side, "height": options.side, "tile": 256, "levels": 4}
        made = {
            syntax: dicom_series(Path(folder) / syntax, Recipe(syntax=syntax, **size))
            for syntax in ("jpeg", "j2k")
        }
        scanned = aperio_tiff(Path(folder) / "a.svs", **size)
        rows = [
            *(
                (f"DICOM {syntax}", read, made[syntax])
                for syntax in made
                for read in (ours, choosing, wsidicoms, openslides)
            ),
            *(("SVS", read, scanned) for read in (ours, choosing, openslides)),
        ]
        for name, read, slide in rows:
            took = milliseconds(read, slide, places, options.times)
            print(
                f"{name:12s} {read.__name__:12s} {min(took):7.0f} ms at least, {median(took):7.0f} in the middle"
            )


if __name__ == "__main__":
    main()
