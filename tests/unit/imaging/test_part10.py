from __future__ import annotations

import numpy as np
import pytest
from pydicom import uid

from tests.unit.imaging.dicom_files import image_attributes, native, written
from worker.errors import ImageTooLarge, ImageUnreadable, UnsupportedTransferSyntax
from worker.imaging.part10 import name_of, read_file

TILE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def body_of(file: bytes) -> bytes:
    return file[144 + int.from_bytes(file[140:144], "little") :]


def test_only_what_pixels_need_is_read() -> None:
    file = native(TILE, "RGB", PatientName="Doe^Jane", PatientID="1", AccessionNumber="A1", LabelText="Doe")
    dataset, syntax = read_file(file, max_bytes=10_000)
    assert syntax == uid.ExplicitVRLittleEndian
    assert "Doe" not in str(dataset)
    assert {"PatientName", "PatientID", "AccessionNumber", "LabelText"}.isdisjoint(dataset.dir())
    assert dataset.Rows == 4


@pytest.mark.parametrize("big_endian", [False, True])
def test_a_data_set_without_header_is_read(big_endian: bool) -> None:
    body = body_of(native(TILE, "RGB", big_endian=big_endian))
    dataset, syntax = read_file(body, max_bytes=10_000)
    assert syntax == (uid.ExplicitVRBigEndian if big_endian else uid.ExplicitVRLittleEndian)
    assert dataset.PixelData == TILE.tobytes()


def test_a_header_without_preamble_is_read() -> None:
    dataset, _ = read_file(native(TILE, "RGB")[132:], max_bytes=10_000)
    assert dataset.PixelData == TILE.tobytes()


def test_a_deflated_data_set_is_inflated_up_to_the_limit() -> None:
    whole = image_attributes(TILE, "RGB", PixelData=TILE.tobytes())
    whole["PixelData"].VR = "OB"
    file = written(whole, uid.DeflatedExplicitVRLittleEndian)
    dataset, _ = read_file(file, max_bytes=10_000)
    assert dataset.PixelData == TILE.tobytes()
    with pytest.raises(ImageTooLarge):
        read_file(file, max_bytes=50)
    with pytest.raises(ImageUnreadable):
        read_file(file[:-20], max_bytes=10_000)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        (uid.JPEGLosslessSV1, "JPEG Lossless, Non-Hierarchical, First-Order Prediction"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless (1.2.840.10008.1.2.4.110)"),
        (uid.MPEG2MPML, "MPEG2"),
        ("1.2.3.4.5", "unknown"),
    ],
)
def test_other_transfer_syntaxes_are_refused_by_name(syntax: str, name: str) -> None:
    head = written(image_attributes(TILE, "RGB"), uid.ExplicitVRLittleEndian)
    known = b"UI\x14\x00" + b"1.2.840.10008.1.2.1\0"
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    with pytest.raises(UnsupportedTransferSyntax) as refusal:
        read_file(head.replace(known, b"UI" + len(text).to_bytes(2, "little") + text), max_bytes=10_000)
    assert name in refusal.value.detail


@pytest.mark.parametrize(
    "text", ["Doe^Jane", "4711.0815.1234", "19610412", uid.SecondaryCaptureImageStorage, ""]
)
def test_what_is_no_registered_transfer_syntax_is_not_repeated(text: str) -> None:
    assert name_of(text) == "unknown"
