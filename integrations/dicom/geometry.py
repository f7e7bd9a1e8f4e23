"""A box in pixels becomes a polygon in the slide's coordinates.

In: a header and a box in pixels of the picture it describes. Out: five points in millimetres, the last the
first, or None where the header does not say where the picture lies. Plain arithmetic (PS3.3 C.7.6.2.1.1 and
C.8.12.14).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

Box = tuple[int, int, int, int]
Point = tuple[float, float, float]


def polygon(header: Dataset, box: Box) -> tuple[Point, ...] | None:
    """The corners of `box` (x, y, width, height of the total pixel matrix), clockwise on the picture."""
    try:
        origin, row, column, spacing = _placed(header)
    except (AttributeError, IndexError, TypeError, ValueError):
        return None
    x, y, width, height = box
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y))
    # The origin is the middle of the first pixel, and a box begins at its corner.
    return tuple(
        (
            origin[0] + row[0] * spacing[1] * (left - 0.5) + column[0] * spacing[0] * (top - 0.5),
            origin[1] + row[1] * spacing[1] * (left - 0.5) + column[1] * spacing[0] * (top - 0.5),
            origin[2] + row[2] * spacing[1] * (left - 0.5) + column[2] * spacing[0] * (top - 0.5),
        )
        for left, top in corners
    )


def _placed(header: Dataset) -> tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]:
    """Origin, direction of rows and of columns, and spacing (between rows, between columns)."""
    first = header.TotalPixelMatrixOriginSequence[0]
    origin = (
        float(first.XOffsetInSlideCoordinateSystem),
        float(first.YOffsetInSlideCoordinateSystem),
        float(first.get("ZOffsetInSlideCoordinateSystem") or 0),
    )
    orientation = [float(cosine) for cosine in header.ImageOrientationSlide]
    measures = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    spacing = [float(one) for one in measures.PixelSpacing]
    if len(orientation) != 6 or len(spacing) != 2 or not str(header.FrameOfReferenceUID):
        raise ValueError
    return origin, orientation[:3], orientation[3:], spacing
