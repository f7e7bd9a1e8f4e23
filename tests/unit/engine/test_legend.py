"""Which picture is which, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import a_reading
from worker.engine.legend import legend

[PLAIN] = a_reading().provenance.patches
OVERVIEW = replace(PLAIN, part="overview", spacing=20.0, tissue_covered=0.4)
WINDOW = replace(PLAIN, part="window", spacing=1.0, tissue_covered=0.4)
REGION = replace(PLAIN, part="region")


def of(image, *patches):
    return [replace(patch, image=image) for patch in patches]


@pytest.mark.parametrize("patches", [[], [PLAIN], [OVERVIEW], [WINDOW], [REGION], [PLAIN, REGION, PLAIN]])
def test_one_picture_and_pictures_without_a_slide_need_none(patches):
    assert legend(patches) == ""


@pytest.mark.parametrize(
    ("patches", "text"),
    [
        (of(0, OVERVIEW, *[WINDOW] * 4), "Image 1: overview of a slide. Images 2 to 5: parts of this slide at 10 x."),
        (of(0, OVERVIEW, WINDOW), "Image 1: overview of a slide. Image 2: part of this slide at 10 x."),
        (of(0, WINDOW, WINDOW), "Images 1 to 2: parts of a slide at 10 x."),
        (of(0, OVERVIEW, replace(WINDOW, spacing=None)), "Image 1: overview of a slide. Image 2: part of this slide."),
        (
            of(0, OVERVIEW, WINDOW) + of(1, PLAIN) + of(2, OVERVIEW) + of(4, OVERVIEW, replace(WINDOW, spacing=0.2525)),
            "Image 1: overview of a slide. Image 2: part of this slide at 10 x. Image 3: an image by itself. "  # noqa: ISC004
            "Image 4: overview of a slide, on which no tissue was found. "
            "Image 5: overview of a slide. Image 6: part of this slide at 39.6 x.",
        ),
    ],
)  # fmt: skip
def test_pictures_of_slides_are_named_in_their_order(patches, text):
    assert legend(patches) == text
