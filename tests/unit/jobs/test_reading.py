"""When a request is answered with: there is no tissue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import a_reading
from worker.jobs.reading import is_without_tissue

[PLAIN] = a_reading().provenance.patches
BLANK = replace(PLAIN, part="overview", tissue_covered=0.0)
OVERVIEW = replace(PLAIN, part="overview", tissue_covered=0.3)
WINDOW = replace(PLAIN, part="window", tissue_covered=0.3)


def second(patch):
    return replace(patch, image=1)


@pytest.mark.parametrize(
    ("patches", "blank"),
    [
        ([], False),
        ([BLANK], True),
        ([BLANK, second(BLANK)], True),
        ([PLAIN], False),
        ([OVERVIEW, WINDOW], False),
        ([WINDOW], False),
        ([BLANK, second(PLAIN)], False),
        ([BLANK, second(OVERVIEW), second(WINDOW)], False),
        ([replace(WINDOW, tissue_covered=0.0), BLANK], False),  # a window that covers next to nothing
        ([replace(BLANK, part="region")], False),  # what was asked for is looked at
        ([replace(BLANK, tissue_covered=None)], False),  # nobody looked for tissue
    ],
)
def test_only_where_every_image_is_a_slide_without_tissue(patches, blank):
    assert is_without_tissue(patches) is blank
