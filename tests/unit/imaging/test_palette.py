from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.imaging.dicom_files import native
from worker.errors import ImageUnreadable, UnsupportedImage
from worker.imaging.dicom import read_dicom

#: 600 colours, each another one
COLOURS = np.stack([np.arange(600) % 256, np.arange(600) // 3, 255 - np.arange(600) % 200], -1).astype("u2")
INDICES = np.arange(600, dtype=np.uint16).reshape(20, 30)


def tables(colours: np.ndarray, stored_as: str, bits: int, *, first: int = 0) -> dict[str, Any]:
    more: dict[str, Any] = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        data = colours[:, channel].astype(stored_as).tobytes()
        more[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours), first, bits]
        more[f"{name}PaletteColorLookupTableData"] = data + b"\0" * (len(data) % 2)
    return more


def shown(indices: np.ndarray, *, big_endian: bool = False, **more: Any) -> np.ndarray:
    file = native(indices, "PALETTE COLOR", big_endian=big_endian, **more)
    return np.asarray(read_dicom(file, frame=None, max_pixels=1_000, max_bytes=100_000).pixels)


def test_indices_of_16_bits_find_entries_of_8_bits() -> None:
    assert np.array_equal(shown(INDICES, **tables(COLOURS, "u1", 8)), COLOURS.reshape(20, 30, 3))


@pytest.mark.parametrize(("big_endian", "order"), [(False, "<"), (True, ">")])
def test_entries_of_16_bits_are_scaled_to_8(big_endian: bool, order: str) -> None:
    more = tables(COLOURS * 257, f"{order}u2", 16)
    assert np.array_equal(shown(INDICES, big_endian=big_endian, **more), COLOURS.reshape(20, 30, 3))


def test_values_of_8_bits_under_a_descriptor_of_16_are_not_shown_as_black() -> None:
    assert np.array_equal(shown(INDICES, **tables(COLOURS, "<u2", 16)), COLOURS.reshape(20, 30, 3))


def test_packed_entries_of_a_big_endian_file_are_bytes_of_words() -> None:
    more = tables(COLOURS, "u1", 8)
    for name in ("Red", "Green", "Blue"):
        keyword = f"{name}PaletteColorLookupTableData"
        more[keyword] = np.frombuffer(more[keyword], "<u2").astype(">u2").tobytes()
    assert np.array_equal(shown(INDICES, big_endian=True, **more), COLOURS.reshape(20, 30, 3))


def test_indices_outside_the_table_get_its_first_and_its_last_colour() -> None:
    pixels = shown(np.array([[3, 10], [15, 65535]], np.uint16), **tables(COLOURS[:5], "u1", 8, first=10))
    assert pixels.tolist() == [[COLOURS[0].tolist()] * 2, [COLOURS[4].tolist()] * 2]


def test_a_table_that_is_shorter_than_it_says_is_unreadable() -> None:
    more = tables(COLOURS, "u1", 8) | {"GreenPaletteColorLookupTableData": b"\0\0"}
    with pytest.raises(ImageUnreadable):
        shown(INDICES, **more)


def test_a_segmented_palette_is_refused() -> None:
    more = {
        keyword if keyword.endswith("Descriptor") else f"Segmented{keyword}": value
        for keyword, value in tables(COLOURS, "<u2", 16).items()
    }
    with pytest.raises(UnsupportedImage) as refusal:
        shown(INDICES, **more)
    assert "segmented palette" in refusal.value.detail
