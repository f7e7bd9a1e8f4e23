"""Look-up tables of DICOM: values go in, entries come out.

In: values, and a table's descriptor and data (PS3.3 C.11.1.1 for grey, C.7.6.3.1.5 for palettes). Out: the
entry of each value. It does not know what the entries mean. (pydicom's own counts the places of a table with
entries of 8 bits in 8 bits too, as of 3.0.2.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def look_up(
    values: NDArray[Any], descriptor: Sequence[int], data: Any, *, is_little_endian: bool
) -> NDArray[Any]:
    """Values before the first entry get the first, those after the last get the last."""
    count, first = int(descriptor[0]) or 1 << 16, int(descriptor[1])
    if isinstance(data, bytes):
        data = _entries(data, count, is_little_endian=is_little_endian)
    entries = np.atleast_1d(np.asarray(data))
    places = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)
    found: NDArray[Any] = entries[places]
    return found


def _entries(data: bytes, count: int, *, is_little_endian: bool) -> NDArray[Any]:
    """As many as the descriptor says; ValueError where there are fewer."""
    order = "<" if is_little_endian else ">"
    if len(data) >= 2 * count:
        return np.frombuffer(data, f"{order}u2", count)
    # Entries of 8 bits are packed two to a word, the first in its low byte (PS3.3 C.7.6.3.1.6).
    words = np.frombuffer(data + b"\0" * (len(data) % 2), f"{order}u2")
    return np.frombuffer(words.astype("<u2").tobytes(), np.uint8, count)
