from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ImageUnreadable, UnsupportedImage
from worker.imaging.kinds import kind_of


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "PNG"),
        (b"\xff\xd8\xff\xe0....", "JPEG"),
        (b"II*\0....", "TIFF"),
        (b"MM\0*....", "TIFF"),
        (b"II+\0....", "TIFF"),
        (b"RIFF....WEBPVP8 ", "WEBP"),
        (b"\0" * 128 + b"DICM", "DICOM"),
        (b"\x08\0\x05\0CS\x0a\0" + b"ISO_IR 100" + b"\0" * 128, "DICOM"),
        (b"\x08\0\x16\0\x1a\0\0\0" + b"1.2.840.10008.5.1.4.1.1.7\0" + b"\0" * 128, "DICOM"),
        (b"\0\x08\0\x05CS\0\x0a" + b"ISO_IR 100" + b"\0" * 128, "DICOM"),
    ],
)
def test_a_file_is_what_its_content_says(data: bytes, kind: str) -> None:
    assert kind_of(data) == kind


def test_a_slide_that_is_tiff_and_dicom_at_once_is_read_as_dicom_which_says_whether_it_is_a_label() -> None:
    assert kind_of(b"II*\0" + b"\0" * 124 + b"DICM") == "DICOM"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF89a", "GIF"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"\0\0\0\x18ftypheic", "HEIF or AVIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 9, ""),
        (b"just some text", ""),
    ],
)
def test_other_formats_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImage) as refusal:
        kind_of(data)
    assert refusal.value.detail == name


def test_an_empty_file_is_unreadable() -> None:
    with pytest.raises(ImageUnreadable):
        kind_of(b"")


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_a_known_kind_or_refused(data: bytes) -> None:
    with suppress(UnsupportedImage):
        assert kind_of(data) in {"DICOM", "PNG", "JPEG", "TIFF", "WEBP"}
