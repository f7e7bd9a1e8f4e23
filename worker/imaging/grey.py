"""Stored values of a grey image become what a display would show, in eight bits.

In: stored values of up to 16 bits and the data set's modality LUT, VOI LUT and windows. Out: 0 is black, 255
is white. Each stored value maps for itself, so everything is worked out once for each value that occurs, not
for each pixel. It knows no file, frame or codec.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from worker.imaging.frames import Layout
from worker.imaging.lookup import look_up

Values = NDArray[np.float64]

#: macros of the functional groups (PS3.3 C.7.6.16.2) that hold a modality LUT or a window
_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def to_grey(
    stored: NDArray[Any], dataset: Dataset, layout: Layout, index: int
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """`index` is the frame's, from 0, for windows that are given frame by frame."""
    how = _attributes(dataset, index)
    low, high = int(stored.min()), int(stored.max())
    shown, step = _displayed(np.arange(low, high + 1), how, layout)
    inverted = layout.photometric == "MONOCHROME1"  # PS3.3 C.7.6.3.1.2: the lowest value is white
    table = np.rint((1 - shown if inverted else shown) * 255).astype(np.uint8)
    return table[stored.astype(np.int32) - low], (step, "MONOCHROME1 inverted") if inverted else (step,)


def window(values: Values, center: float, width: float, function: str) -> Values:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, to the range from 0 to 1."""
    if function == "SIGMOID":
        shown: Values = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
        return shown
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _displayed(stored: NDArray[np.int64], how: Dataset, layout: Layout) -> tuple[Values, str]:
    """Each stored value from 0 (black) to 1, and the step that made it so."""
    values = _modality(stored.astype(np.float64), how)
    if how.get("VOILUTSequence"):
        table, bits = how.VOILUTSequence[0], int(how.VOILUTSequence[0].LUTDescriptor[2])
        return np.clip(_look_up(values, table, how) / ((1 << bits) - 1), 0, 1), "VOI LUT"
    center, width = _first(how.get("WindowCenter")), _first(how.get("WindowWidth"))
    if center is not None and width is not None and width > 0:
        asked = str(how.get("VOILUTFunction") or "LINEAR")
        function = asked if asked in _FUNCTIONS else "LINEAR"
        return window(values, center, width, function), f"window {center:g}/{width:g} {function}"
    return _full_range(values, how, layout)


def _modality(stored: Values, how: Dataset) -> Values:
    """PS3.3 C.11.1: the modality LUT, else slope and intercept."""
    if how.get("ModalityLUTSequence"):
        return _look_up(stored, how.ModalityLUTSequence[0], how)
    slope, intercept = _first(how.get("RescaleSlope")), _first(how.get("RescaleIntercept"))
    return stored * (1.0 if slope is None else slope) + (intercept or 0.0)


def _look_up(values: Values, table: Dataset, how: Dataset) -> Values:
    """PS3.3 C.11.1.1 and C.11.2.1.1."""
    is_little_endian = bool(how.original_encoding[1])
    entries = look_up(values, table.LUTDescriptor, table.LUTData, is_little_endian=is_little_endian)
    return entries.astype(np.float64)


def _full_range(values: Values, how: Dataset, layout: Layout) -> tuple[Values, str]:
    """Without a window, all that the bits stored can say. PS3.3 C.11.2 leaves it open; the range of the
    values that occur would show more, but the same value would look different in each frame or tile of one
    object, and a frame on its own different from the same frame in its slide."""
    if how.get("ModalityLUTSequence"):
        bits = int(how.ModalityLUTSequence[0].LUTDescriptor[2])
        return np.clip(values / ((1 << bits) - 1), 0, 1), f"range of {bits} bits"
    least = -(1 << layout.bits_stored - 1) if layout.signed else 0
    ends = _modality(np.array([least, least + (1 << layout.bits_stored) - 1], np.float64), how)
    low, high = float(ends.min()), float(ends.max())
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1), f"range of {layout.bits_stored} bits"


def _first(value: Any) -> float | None:
    """Of several windows the first is the default one."""
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)


def _attributes(dataset: Dataset, index: int) -> Dataset:
    """The data set's own attributes, then those of all frames, then those of this frame."""
    found = Dataset()
    found.set_original_encoding(*dataset.original_encoding)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or [])[:1], *per_frame[index : index + 1]]
    macros = [item for group in groups for name in _MACROS for item in group.get(name) or []]
    for source in (dataset, *macros):
        for keyword in (
            *("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "RescaleType"),
            *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
        ):
            if keyword in source:
                found[keyword] = source[keyword]
    return found
