"""Sampling: what the model is shown of a slide, and the record of it.

In: a slide and what is wanted. Out: the region that was asked for; or else the overview and the chosen
windows as patches, each with the share of the tissue that is covered and the digest of the mask; the
overview alone where there is no tissue. The digest of the pixels is the worker's to make. It decides nothing
that `windows` has not.
"""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from worker.imaging.slide import Slide
from worker.imaging.slides import region_of
from worker.imaging.units import Box
from worker.imaging.wanted import Seen, Wanted
from worker.imaging.windows import Choice, choose
from worker.jobs.reading import PatchRecord
from worker.jobs.request import Region

OVERVIEW, WINDOW, REGION = "overview", "window", "region"


def sampled(slide: Slide, wanted: Wanted) -> tuple[Seen, ...]:
    """The overview, then the windows, the best first. A slide that one window shows whole is that window.

    Raises what `Slide.read` raises.
    """
    choice = choose(slide, wanted)
    common = replace(
        _common(slide, wanted),
        tissue_covered=round(choice.tissue_covered, 4),
        mask_digest=choice.mask.digest,
    )
    windows = tuple(_window(slide, choice, box, common) for box in choice.windows)
    whole = slide.levels[0].size
    is_shown_whole = bool(windows) and choice.windows[0].size == whole
    if windows and (is_shown_whole or wanted.overview == 0):
        return windows
    return (_overview(slide, choice, common), *windows)


def part(slide: Slide, wanted: Wanted, region: Region) -> Seen:
    """What was asked for. Raises RegionOutside, or what `Slide.read` raises."""
    box, size = region_of(region, slide, wanted.magnification)
    record = replace(
        _common(slide, wanted),
        part=REGION,
        region=(box.x, box.y, box.width, box.height),
        spacing=None if slide.spacing is None else slide.spacing * box.width / size.width,
    )
    return _seen(slide.read(box, size), record)


def _common(slide: Slide, wanted: Wanted) -> PatchRecord:
    """What is the same for all patches of the slide."""
    whole = slide.levels[0].size
    return PatchRecord(
        image=wanted.number,
        source_digest=slide.digest,
        pixels_digest="",
        format=slide.format,
        width=0,
        height=0,
        steps=slide.steps,
        slide_size=(whole.width, whole.height),
    )


def _window(slide: Slide, choice: Choice, box: Box, common: PatchRecord) -> Seen:
    record = replace(
        common,
        part=WINDOW,
        region=(box.x, box.y, box.width, box.height),
        spacing=choice.spacing,
        steps=(*common.steps, *choice.steps),
    )
    return _seen(slide.read(box, choice.shown), record)


def _overview(slide: Slide, choice: Choice, common: PatchRecord) -> Seen:
    whole, pixels = slide.levels[0].size, choice.overview
    ink = (f"{choice.mask.ink:.1%} taken for ink",) if choice.mask.ink else ()
    record = replace(
        common,
        part=OVERVIEW,
        region=(0, 0, whole.width, whole.height),
        spacing=None if slide.spacing is None else slide.spacing * whole.width / pixels.width,
        steps=(*common.steps, *ink),
    )
    return _seen(pixels, record)


def _seen(pixels: Image.Image, record: PatchRecord) -> Seen:
    return Seen(rgb=pixels.tobytes(), record=replace(record, width=pixels.width, height=pixels.height))
