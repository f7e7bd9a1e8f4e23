"""Legend: which picture is which, in words for the model. Pure.

In: the records of the pictures of one question, in their order. Out: some sentences; none for one picture,
and none where no slide is among them: then the model reads what its card has, word for word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from worker.jobs.reading import PatchRecord

#: kept with a reading whose question had a legend, beside the version of the prompt
LEGEND_VERSION: Final = "legend/1"
#: microns per pixel at 1 x
_MICRONS_AT_ONE: Final = 10.0


def legend(patches: Sequence[PatchRecord]) -> str:
    """`Image 1: overview of a slide. Images 2 to 5: parts of this slide at 10 x.`"""
    if len(patches) < 2 or not any(patch.part in ("overview", "window") for patch in patches):
        return ""
    sentences = list[str]()
    shown = 0
    for _, group in groupby(patches, key=lambda patch: patch.image):
        of_one = list(group)
        sentences += _of_image(of_one, shown + 1)
        shown += len(of_one)
    return " ".join(sentences)


def _of_image(patches: Sequence[PatchRecord], first: int) -> list[str]:
    overviews = [patch for patch in patches if patch.part == "overview"]
    windows = [patch for patch in patches if patch.part == "window"]
    if not overviews and not windows:
        return [f"{_numbers(first, len(patches))}: an image by itself."]
    sentences = list[str]()
    if overviews:
        blank = "" if windows else ", on which no tissue was found"
        sentences.append(f"{_numbers(first, len(overviews))}: overview of a slide{blank}.")
    if windows:
        slide = "this slide" if overviews else "a slide"
        parts = "parts" if len(windows) > 1 else "part"
        numbers = _numbers(first + len(overviews), len(windows))
        sentences.append(f"{numbers}: {parts} of {slide}{_magnification(windows[0])}.")
    return sentences


def _numbers(first: int, count: int) -> str:
    return f"Image {first}" if count == 1 else f"Images {first} to {first + count - 1}"


def _magnification(patch: PatchRecord) -> str:
    return f" at {_MICRONS_AT_ONE / patch.spacing:.3g} x" if patch.spacing else ""
