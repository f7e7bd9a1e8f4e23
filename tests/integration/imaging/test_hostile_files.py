"""Files made to exhaust memory or time, or to show something else than they say: each ends in a refusal, here and
in a child process, which stays far below what it may take."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset

from tests.unit.imaging.children import a_child, forget_peak, memory
from tests.unit.imaging.dicom_files import encoded, image_attributes, native, written
from worker.errors import ImageRefused, ImageTooLarge, ImageUnreadable, UnsupportedImage
from worker.imaging.looking import read_picture
from worker.imaging.sandbox import Sandbox
from worker.imaging.supply import InMemory
from worker.imaging.wanted import Limits, Wanted

TILE = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
MEBIBYTE = 1 << 20


MAX_PIXELS, MAX_BYTES, PEAK = 4_000_000, 16 * MEBIBYTE, 64 * MEBIBYTE

Read = Callable[..., None]


@pytest.fixture(params=["here", "in a child"])
def read(request: pytest.FixtureRequest) -> Iterator[Read]:
    yield from read_here() if request.param == "here" else read_in_child(request.getfixturevalue("sandbox"))


def read_here() -> Iterator[Read]:
    def read(data: bytes, frame: int | None = None) -> None:
        read_picture(data, frame=frame, max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES)

    tracemalloc.start()
    yield read
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < PEAK


def read_in_child(sandbox: Sandbox) -> Iterator[Read]:
    def read(data: bytes, frame: int | None = None) -> None:
        limits = Limits(max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES)
        (seen,) = sandbox.look(InMemory(data=data), Wanted(number=0, limits=limits, frame=frame))
        assert len(seen.rgb) == 3 * seen.record.width * seen.record.height

    child = a_child(sandbox)
    before = memory(child)
    forget_peak(child)
    yield read
    assert sandbox.pids() == (child,), "it is used on"
    assert memory(child, "VmHWM") - before < PEAK


def head(syntax: str) -> bytes:
    return written(Dataset(), syntax)


def test_a_deflated_data_set_that_inflates_to_a_thousand_times_its_size(read: Read) -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = [stream.compress(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 128 * MEBIBYTE))]
    body += [stream.compress(b"\0" * MEBIBYTE) for _ in range(128)]
    start = written(image_attributes(TILE, "RGB"), uid.ExplicitVRLittleEndian)
    meta = start[: 144 + int.from_bytes(start[140:144], "little")]
    known, wanted = b"UI\x14\0" + b"1.2.840.10008.1.2.1\0", b"UI\x16\0" + b"1.2.840.10008.1.2.1.99"
    with pytest.raises(ImageTooLarge):
        read(meta.replace(known, wanted) + b"".join(body) + stream.flush())


def jpeg(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "JPEG", quality=10)
    return file.getvalue()


def with_jpeg_size(stream: bytes, rows: int, columns: int) -> bytes:
    place = stream.index(b"\xff\xc0")
    return stream[: place + 5] + struct.pack(">HH", rows, columns) + stream[place + 9 :]


def test_a_jpeg_tile_that_is_larger_than_its_data_set_says(read: Read) -> None:
    stream = with_jpeg_size(jpeg(64), 13000, 13000)
    with pytest.raises(ImageUnreadable) as refusal:
        read(encoded([stream], TILE[..., 0], "MONOCHROME2", uid.JPEGBaseline8Bit))
    assert "13000 x 13000" in refusal.value.detail


def test_a_jpeg_ls_tile_that_is_larger_than_its_data_set_says(read: Read) -> None:
    stream = with_jpeg_size(jpeg(64), 13000, 13000).replace(b"\xff\xc0", b"\xff\xf7")
    with pytest.raises(ImageUnreadable):
        read(encoded([stream], TILE[..., 0], "MONOCHROME2", uid.JPEGLSLossless))


def test_a_small_jpeg_2000_that_asks_for_gigabytes(read: Read) -> None:
    stream = bytearray(encode_array(TILE, bits_stored=8, photometric_interpretation=1))
    stream[8:16] = stream[24:32] = struct.pack(">II", 12000, 12000)
    with pytest.raises(ImageUnreadable) as refusal:
        read(encoded([bytes(stream)], TILE, "RGB", uid.JPEG2000))
    assert "12000 x 12000" in refusal.value.detail


def test_a_jpeg_2000_with_the_wrong_number_of_components(read: Read) -> None:
    stream = encode_array(TILE[..., 0].copy(), bits_stored=8)
    with pytest.raises(ImageUnreadable):
        read(encoded([stream], TILE, "RGB", uid.JPEG2000))


def test_an_rle_segment_that_grows_64_times(read: Read) -> None:
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * MEBIBYTE
    with suppress(ImageUnreadable):  # what counts is the memory
        read(encoded([stream], TILE[..., 0], "MONOCHROME2", uid.RLELossless))


def test_rle_segments_that_are_longer_than_a_plane(read: Read) -> None:
    """pylibjpeg-rle 2.2 panics for 16 bits, and a panic of Rust's is no Exception."""
    segment = b"\x81\x00" * 40
    stream = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    with pytest.raises(ImageUnreadable):
        read(encoded([stream], TILE[..., 0].astype(np.uint16), "MONOCHROME2", uid.RLELossless))


def test_palette_segments_that_repeat_segments(read: Read) -> None:
    segments = np.array([0, 1, 0, 1, 65535, 1] + [2, 2, 0, 0] * 3000, np.uint16).tobytes()
    more = {f"{name}PaletteColorLookupTableDescriptor": [0, 0, 16] for name in ("Red", "Green", "Blue")}
    data = {f"Segmented{key.removesuffix('Descriptor')}Data": segments for key in more}
    with pytest.raises(UnsupportedImage):
        read(native(TILE[..., 0], "PALETTE COLOR", **more, **data))


def test_rows_and_columns_of_60000(read: Read) -> None:
    with pytest.raises(ImageTooLarge):
        read(native(TILE, "RGB", Rows=60000, Columns=60000))


@pytest.mark.parametrize("frames", [1_000, 1_000_000, 2_000_000_000, 0, -1, 99999999999999999])
def test_more_frames_than_there_are_bytes_for(read: Read, frames: int) -> None:
    attributes = image_attributes(TILE, "RGB", PixelData=TILE.tobytes())
    attributes["PixelData"].VR = "OB"
    attributes.NumberOfFrames = str(frames)[:12]
    if frames == 0:  # some writers mean one
        read(written(attributes, uid.ExplicitVRLittleEndian))
        return
    with pytest.raises((ImageUnreadable, ImageTooLarge)):
        read(written(attributes, uid.ExplicitVRLittleEndian))


def test_a_frame_that_is_declared_but_not_there(read: Read) -> None:
    streams = [encode_array(TILE, bits_stored=8, photometric_interpretation=1)]
    for count in (1_000, 1_000_000, 999_999_999):
        with pytest.raises((ImageUnreadable, ImageTooLarge)):
            read(encoded(streams, TILE, "RGB", uid.JPEG2000, NumberOfFrames=count), frame=1_000)


def test_nested_sequences(read: Read) -> None:
    item = struct.pack("<HH2sHI", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(ImageUnreadable):
        read(head(uid.ExplicitVRLittleEndian) + item * 3000)


@pytest.mark.parametrize("length", [0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF])
def test_an_element_that_is_longer_than_the_file(read: Read, length: int) -> None:
    whole = native(TILE, "RGB")
    place = whole.index(b"\xe0\x7f\x10\x00OB\0\0")
    with pytest.raises(ImageRefused):
        read(whole[: place + 8] + struct.pack("<I", length) + b"\0" * 100)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
def test_a_data_set_that_is_cut_short(read: Read, keep: float) -> None:
    j2k = encode_array(TILE, bits_stored=8, photometric_interpretation=1)
    for whole in (native(TILE, "RGB"), encoded([j2k], TILE, "RGB", uid.JPEG2000Lossless)):
        with pytest.raises(ImageRefused):
            read(whole[: int(len(whole) * keep)])


def test_a_jpeg_tile_that_is_cut_short(read: Read) -> None:
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, "JPEG")
    with pytest.raises(ImageUnreadable):
        read(encoded([file.getvalue()[:-400]], TILE, "YBR_FULL_422", uid.JPEGBaseline8Bit))


def test_a_png_of_200_megapixels(read: Read) -> None:
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", 14_200, 14_200)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ImageTooLarge):
        read(bytes(data))


@pytest.mark.parametrize("side", [3000, 12_000, 65_000])
def test_a_jpeg_that_says_it_is_large(read: Read, side: int) -> None:
    with pytest.raises(ImageTooLarge):
        read(with_jpeg_size(jpeg(64), side, side))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_that_is_cut_to_its_header(read: Read, kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, kind)
    for length in range(12, 60):
        with pytest.raises(ImageRefused):
            read(file.getvalue()[:length])


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_are_read_or_refused_and_nothing_else(read: Read, seed: int) -> None:
    rng = np.random.default_rng(seed)
    j2k = encode_array(TILE, bits_stored=8, photometric_interpretation=1)
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, "TIFF")
    for whole in (native(TILE, "RGB"), encoded([j2k], TILE, "RGB", uid.JPEG2000Lossless), file.getvalue()):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 700), 6):
            data[place] = rng.integers(0, 256)
        with suppress(ImageRefused):
            read(bytes(data))


def test_a_one_bit_segmentation_floating_points_and_an_object_without_pixels(read: Read) -> None:
    with pytest.raises(UnsupportedImage):
        read(native(TILE[..., 0], "MONOCHROME2", BitsAllocated=1, BitsStored=1, HighBit=0))
    for keyword, bits, kind in (("FloatPixelData", 32, "f4"), ("DoubleFloatPixelData", 64, "f8")):
        floats = image_attributes(TILE[..., 0], "MONOCHROME2", BitsAllocated=bits)
        setattr(floats, keyword, np.zeros((64, 64), kind).tobytes())
        with pytest.raises(UnsupportedImage):
            read(written(floats, uid.ExplicitVRLittleEndian))
    report = Dataset()
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    with pytest.raises(UnsupportedImage):
        read(written(report, uid.ExplicitVRLittleEndian))


@pytest.mark.parametrize(
    "more",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "THUMBNAIL", "RESAMPLED"]},
        {"ImageType": "LABEL"},
        {"SpecimenLabelInImage": "YES"},
        {"BurnedInAnnotation": "YES"},
    ],
)
def test_what_may_show_who_the_patient_is_is_refused(read: Read, more: dict[str, object]) -> None:
    with pytest.raises(ImageRefused) as refusal:
        read(native(TILE, "RGB", **more))
    assert type(refusal.value) is ImageRefused
    assert refusal.value.detail
    read(native(TILE, "RGB", ImageType=["DERIVED", "PRIMARY", "VOLUME", "NONE"], BurnedInAnnotation="NO"))
