"""Sampling: what the model is shown of a slide of which no region was asked for, and the record of it.

In: a slide and what is wanted. Out: the overview and the chosen windows as patches, each with the covered share of
the tissue and the digest of the mask; the overview alone where there is no tissue. It decides nothing that
`windows` has not.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from PIL import Image

from worker.imaging.slide import Slide
from worker.imaging.units import Box, MicronsPerPixel
from worker.imaging.wanted import Seen, Wanted
from worker.imaging.windows import Choice, choose
from worker.jobs.reading import PatchRecord

OVERVIEW, WINDOW = "overview", "window"


def sampled(slide: Slide, wanted: Wanted) -> tuple[Seen, ...]:
    """The overview, then the windows, the best first. A slide that one window shows whole is that window.

    Raises what `Slide.read` raises.
    """
    choice = choose(slide, wanted)
    whole = slide.levels[0].size
    windows = tuple(
        _seen(slide, wanted, choice, WINDOW, box, slide.read(box, choice.shown)) for box in choice.windows
    )
    is_shown_whole = bool(windows) and choice.windows[0].size == whole
    if windows and (is_shown_whole or wanted.overview == 0):
        return windows
    box = Box(x=0, y=0, width=whole.width, height=whole.height)
    return (_seen(slide, wanted, choice, OVERVIEW, box, choice.overview), *windows)


def _seen(slide: Slide, wanted: Wanted, choice: Choice, part: str, box: Box, pixels: Image.Image) -> Seen:
    rgb = pixels.tobytes()
    steps = _of_overview(choice) if part == OVERVIEW else choice.steps
    record = PatchRecord(
        image=wanted.number,
        source_digest=slide.digest,
        pixels_digest="sha256:" + hashlib.sha256(rgb).hexdigest(),
        format=slide.format,
        width=pixels.width,
        height=pixels.height,
        region=(box.x, box.y, box.width, box.height),
        steps=(*slide.steps, *steps),
        part=part,
        spacing=choice.spacing,
        slide_size=(slide.levels[0].size.width, slide.levels[0].size.height),
        tissue_covered=round(choice.tissue_covered, 4),
        mask_digest=choice.mask.digest,
    )
    if part == OVERVIEW:
        record = replace(record, spacing=_coarser(slide.spacing, box.width / pixels.width))
    return Seen(rgb=rgb, record=record)


def _of_overview(choice: Choice) -> tuple[str, ...]:
    ink = f"{choice.mask.ink:.1%} taken for ink"
    return (ink,) if choice.mask.ink else ()


def _coarser(spacing: MicronsPerPixel | None, factor: float) -> MicronsPerPixel | None:
    return None if spacing is None else MicronsPerPixel(spacing * factor)
