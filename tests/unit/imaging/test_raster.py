from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from worker.errors import ImageRefused, ImageTooLarge, ImageUnreadable, RegionOutside, UnsupportedImage
from worker.imaging.picture import Picture
from worker.imaging.raster import read_raster

# a corner of each colour, so that every turn and flip can be told from every other
CORNERS = np.full((6, 8, 3), 128, np.uint8)
CORNERS[0, 0], CORNERS[0, -1], CORNERS[-1, 0], CORNERS[-1, -1] = (
    (250, 0, 0),
    (0, 250, 0),
    (0, 0, 250),
    (9, 9, 9),
)


def saved(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(file, kind, **options)
    return file.getvalue()


def read(data: bytes, kind: str, frame: int | None = None, max_pixels: int = 100_000) -> Picture:
    return read_raster(data, kind, frame=frame, max_pixels=max_pixels)


def rgb(data: bytes, kind: str, frame: int | None = None) -> np.ndarray:
    return np.asarray(read(data, kind, frame).pixels)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_pictures_come_out_as_they_went_in(kind: str, options: dict[str, Any]) -> None:
    picture = read(saved(CORNERS, kind, **options), kind)
    assert picture.format == kind
    assert picture.frame is None
    assert picture.steps == ()
    assert np.array_equal(np.asarray(picture.pixels), CORNERS)


UPRIGHT = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: np.rot90(CORNERS, -1),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNERS),
}


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_turns_every_pixel_to_its_place(
    kind: str, options: dict[str, Any], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(saved(CORNERS, kind, exif=exif, **options), kind)
    assert np.array_equal(np.asarray(picture.pixels), UPRIGHT[orientation])
    assert len(picture.steps) == (orientation != 1)


def test_a_turned_jpeg_has_its_sides_exchanged() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(saved(CORNERS, "JPEG", exif=exif), "JPEG").pixels.size == (6, 8)


def test_pages_of_a_tiff_and_frames_of_an_animation_are_counted_from_1() -> None:
    pages = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (10, 20, 30)]
    for kind, options in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = saved(pages[0], kind, save_all=True, append_images=pages[1:], **options)
        assert rgb(data, kind)[0, 0, 0] == 10
        assert read(data, kind).frame == 1
        assert rgb(data, kind, frame=3)[0, 0, 0] == 30
        with pytest.raises(RegionOutside):
            read(data, kind, frame=4)


def test_a_later_page_is_measured_too() -> None:
    data = saved(Image.new("L", (4, 4)), "TIFF", save_all=True, append_images=[Image.new("L", (400, 400))])
    assert read(data, "TIFF").pixels.size == (4, 4)
    with pytest.raises(ImageTooLarge):
        read(data, "TIFF", frame=2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind: str) -> None:
    data = saved(np.array([[0, 257 * 100, 65535]], np.uint16), kind)
    assert rgb(data, kind)[0, :, 0].tolist() == [0, 100, 255]


def test_16_bit_rgb_is_scaled() -> None:
    rows = b"\0" + np.array([0, 257 * 100, 65535, 65535, 0, 257 * 100], ">u2").tobytes()
    data = png_of(2, 1, rows, depth=16, colour=2)
    assert rgb(data, "PNG")[0].tolist() == [[0, 100, 255], [255, 0, 100]]


def png_of(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("stored", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_not_a_negative(stored: type) -> None:
    most = np.iinfo(stored).max
    data = bytearray(saved(np.array([[0, most]], stored), "TIFF"))
    place = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    data[place : place + 2] = b"\0\0"
    assert rgb(bytes(data), "TIFF")[0, :, 0].tolist() == [255, 0]


def test_palette_bilevel_grey_and_cmyk_become_rgb() -> None:
    palette = Image.fromarray(CORNERS).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(rgb(saved(palette, "PNG"), "PNG"), expected)
    assert rgb(saved(Image.new("1", (2, 2), 1), "PNG"), "PNG").tolist() == [[[255] * 3] * 2] * 2
    assert rgb(saved(Image.new("L", (1, 1), 77), "PNG"), "PNG").tolist() == [[[77] * 3]]
    assert rgb(saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), "TIFF").tolist() == [[[255, 0, 0]]]


def test_transparent_pixels_are_white() -> None:
    clear = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    clear.putpixel((1, 0), (200, 0, 0, 255))
    for kind in ("PNG", "TIFF"):
        assert rgb(saved(clear, kind), kind)[0].tolist() == [[255] * 3, [200, 0, 0]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.putpixel((1, 0), 1)
    assert rgb(saved(palette, "PNG", transparency=0), "PNG")[0].tolist() == [[255] * 3, [0, 0, 200]]


def test_32_bits_a_sample_are_not_supported() -> None:
    with pytest.raises(UnsupportedImage):
        read(saved(np.zeros((2, 2), np.float32), "TIFF"), "TIFF")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_truncated_picture_is_unreadable_and_never_half_grey(
    kind: str, options: dict[str, Any], kept: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = saved(noise, kind, **options)
    with pytest.raises(ImageUnreadable):
        read(whole[: int(len(whole) * kept)], kind)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_size_is_checked_before_decoding(kind: str) -> None:
    data = saved(Image.new("L", (300, 400)), kind)
    assert read(data, kind, max_pixels=120_000).pixels.size == (300, 400)
    with pytest.raises(ImageTooLarge) as refusal:
        read(data, kind, max_pixels=119_999)
    assert "most 119999" in refusal.value.detail


@pytest.mark.parametrize("description", ["Aperio Image Library v11\r\nlabel 387x463", "Macro", "Label_Image"])
def test_the_label_page_of_a_scanners_tiff_is_refused(description: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = description
    with pytest.raises(ImageRefused):
        read(saved(CORNERS, "TIFF", tiffinfo=tags), "TIFF")


def test_a_description_that_speaks_of_labels_is_no_label() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = "stain=HE; no label shown"
    assert read(saved(CORNERS, "TIFF", tiffinfo=tags), "TIFF").pixels.size == (8, 6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("pillows", [1, 30, 10**9, None])
def test_the_operators_limit_of_pixels_counts_whatever_pillows_is(
    kind: str, pillows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    data = saved(CORNERS, kind)
    assert read(data, kind, max_pixels=48).pixels.size == (8, 6)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows)
    with pytest.raises(ImageTooLarge) as refusal:
        read(data, kind, max_pixels=47)
    assert "most 47" in refusal.value.detail
