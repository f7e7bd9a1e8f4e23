"""Reading: what the model said about a case, and everything needed to trace it.

In: what the engine and the imaging room report. Out: a frozen value that the store keeps and every
integration translates. It knows no format of any other system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

DEMONSTRATION = "Demonstration model: not a medical statement."
RESEARCH_USE = "Research use only: not for diagnosis. A pathologist must review the image."


class ReadingOutcome(StrEnum):
    """How far the model came. Only `answered` has an answer."""

    ANSWERED = "answered"  #: reasoning and a complete answer
    UNPARSED = "unparsed"  #: it stopped by itself, but not in the format that was asked for
    TRUNCATED = "truncated"  #: it ran into the token limit
    DEADLINE = "deadline"  #: it ran into the time limit; what there was is kept
    NO_TISSUE_FOUND = "no_tissue_found"  #: a slide of blank glass; no model was asked
    CANCELLED = "cancelled"  #: the asker took the job back; what there was is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRecord:
    """Which pixels the model was shown. The last five are of whole slides."""

    #: position of the image in the request, from 0
    image: int
    #: sha256 of the bytes that were read
    source_digest: str
    #: sha256 of the RGB pixels, row by row, that went to the model
    pixels_digest: str
    #: what the bytes were: `PNG`, `JPEG`, `DICOM 1.2.840.10008.1.2.4.50` ...
    format: str
    #: in pixels
    width: int
    height: int
    #: x, y, width, height in pixels of the source, where a region was asked for
    region: tuple[int, int, int, int] | None = None
    #: DICOM frame number, from 1
    frame: int | None = None
    #: what was done to the colours or the orientation on the way
    steps: tuple[str, ...] = ()
    #: `overview`, `window` (chosen by us) or `region` (asked for)
    part: str | None = None
    #: microns per pixel of what was shown
    spacing: float | None = None
    #: width and height of the largest level, in pixels: `region` lies on it
    slide_size: tuple[int, int] | None = None
    #: how much of the slide's tissue the windows cover, 0 to 1
    tissue_covered: float | None = None
    #: sha256 of the tissue mask that the windows were chosen by
    mask_digest: str | None = None


def is_without_tissue(patches: Sequence[PatchRecord]) -> bool:
    """Whether every image is a slide on which no tissue was found: its overview, and no window of it."""
    images = {patch.image for patch in patches}
    blank = {patch.image for patch in patches if patch.part == "overview" and patch.tissue_covered == 0}
    looked_into = {patch.image for patch in patches if patch.part != "overview"}
    return bool(images) and images == blank - looked_into


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which model said it, and how it was run."""

    model: str
    #: sha256 over the weight files
    weights_digest: str
    license: str
    #: what must be said beside the answer wherever it is shown
    notice: str
    prompt_version: str
    #: decoding parameters as given to the model
    decoding: dict[str, Any]
    engine: str
    #: how many requests shared the step
    rows: int
    dtype: str
    device: str
    seed: int
    software: dict[str, str]
    patches: tuple[PatchRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    outcome: ReadingOutcome
    reasoning: str
    #: empty unless `outcome` is `answered`
    answer: str
    #: the letter of the option that was named, where exactly one was
    choice: str | None
    #: everything the model wrote
    raw_text: str
    prompt_tokens: int
    completion_tokens: int
    #: seconds spent, by stage: `imaging`; `engine`, from its first step to its last, of that `first_token`
    #: where the engine can tell; `device`, its share of the device's time
    timings: dict[str, float]
    provenance: Provenance
