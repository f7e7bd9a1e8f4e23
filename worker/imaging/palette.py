"""Palettes: stored values become the colours that a data set gives them.

In: stored values and the Palette Color Lookup Tables (PS3.3 C.7.6.3.1.5 and .6). Out: 8-bit RGB, or a
refusal. It knows no file, frame or codec.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from worker.errors import UnsupportedImage
from worker.imaging.colour import eight_bits
from worker.imaging.lookup import look_up

_TABLE = "PaletteColorLookupTable"


def to_rgb(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """Raises UnsupportedImage for segmented tables; what is missing or too short raises as it comes."""
    if f"Red{_TABLE}Data" not in dataset and f"SegmentedRed{_TABLE}Data" in dataset:
        # Segments may repeat segments (PS3.3 C.7.9.2.3): a small file stands for billions of entries.
        raise UnsupportedImage("DICOM with a segmented palette")
    low, high = int(stored.min()), int(stored.max())
    values = np.arange(low, high + 1)
    colours = np.stack([_channel(values, dataset, name) for name in ("Red", "Green", "Blue")], axis=-1)
    # Descriptors that say 16 bits over values of 8 are common, palettes that show nothing at all are not;
    # and entries of 8 bits may lie in words (PS3.3 C.7.6.3.1.5, Note).
    palette = eight_bits(colours, 8 if colours.max() < 256 else 16)
    return palette[stored.astype(np.int32) - low]


def _channel(values: NDArray[Any], dataset: Dataset, name: str) -> NDArray[Any]:
    return look_up(
        values,
        dataset[f"{name}{_TABLE}Descriptor"].value,
        dataset[f"{name}{_TABLE}Data"].value,
        is_little_endian=bool(dataset.original_encoding[1]),
    )
