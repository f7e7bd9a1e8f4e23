from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openjpeg.utils import encode_array
from PIL import Image

from worker.errors import ImageUnreadable
from worker.imaging.codestream import (
    Header,
    j2k_header,
    jpeg_header,
    says_ybr,
    with_colour_marker,
    without_boxes,
)

TILE = np.zeros((5, 7, 3), np.uint8)


def jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_tells_its_size(progressive: bool) -> None:
    assert jpeg_header(jpeg(progressive=progressive)) == Header(rows=5, columns=7, samples=3, bits=8)


def test_fill_bytes_before_a_marker_are_allowed() -> None:
    stream = jpeg()
    assert jpeg_header(stream[:2] + b"\xff\xff\xff" + stream[2:]).rows == 5


def test_jpeg_2000_tells_size_depth_and_sign() -> None:
    grey = encode_array(np.zeros((48, 64), np.int16), bits_stored=12)
    assert j2k_header(grey) == Header(rows=48, columns=64, samples=1, bits=12, signed=True)
    assert (
        j2k_header(
            encode_array(np.zeros((48, 64, 3), np.uint8), bits_stored=8, photometric_interpretation=1)
        ).samples
        == 3
    )


def test_a_codestream_is_taken_out_of_the_last_box_and_not_searched_for_in_others() -> None:
    signature = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
    decoy = b"\xff\x4f\xff\x51decoy"
    box = (8 + len(decoy)).to_bytes(4, "big") + b"xml " + decoy
    assert without_boxes(signature + box + b"\0\0\0\0jp2c" + b"the stream") == b"the stream"
    assert without_boxes(b"bare") == b"bare"


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\0", b"\xff\xd8\xff\xc0\0", b"no picture"]
)
def test_a_jpeg_without_a_header_is_unreadable(data: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        jpeg_header(data)


@given(st.binary(max_size=200))
def test_no_bytes_bring_anything_but_a_header_or_a_refusal(data: bytes) -> None:
    for reader in (jpeg_header, j2k_header, without_boxes):
        for stream in (
            data,
            b"\xff\xd8" + data,
            b"\xff\x4f\xff\x51" + data,
            b"\0\0\0\x0cjP  \r\n\x87\n" + data,
        ):
            with suppress(ImageUnreadable):
                reader(stream)


def test_a_jfif_marker_says_ybr_and_component_names_say_rgb() -> None:
    assert says_ybr(jpeg()) is True
    assert says_ybr(jpeg(keep_rgb=True)) is False


def without_app_markers(stream: bytes) -> bytes:
    length = int.from_bytes(stream[4:6], "big")
    assert stream[2:4] == b"\xff\xe0"
    return stream[:2] + stream[4 + length :]


def test_chroma_of_a_lower_resolution_says_ybr_where_no_marker_does() -> None:
    assert says_ybr(without_app_markers(jpeg(subsampling=2))) is True
    assert says_ybr(without_app_markers(jpeg(subsampling=1))) is True
    assert says_ybr(without_app_markers(jpeg(subsampling=0))) is None
    assert says_ybr(with_colour_marker(jpeg(subsampling=2), is_ybr=False)) is False


def test_one_adobe_marker_replaces_all_others() -> None:
    stream = with_colour_marker(jpeg(), is_ybr=False)
    assert says_ybr(stream) is False
    assert b"JFIF" not in stream
    assert stream.count(b"Adobe") == 1
    assert says_ybr(with_colour_marker(stream, is_ybr=True)) is True
