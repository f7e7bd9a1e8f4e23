"""OME-TIFF: the pyramid that lies below the first directory, in every way tiles are stored."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.ome import STORED, ome_tiff
from tests.slides import FiledPieces, swapped_profile
from worker.errors import ImageRefused, ImageTooLarge, RegionOutside, UnsupportedImage
from worker.imaging.slide import Slide
from worker.imaging.slides import open_slide
from worker.imaging.supply import InMemory, OnDisk, Remote, Supply
from worker.imaging.units import Box, Size
from worker.imaging.wanted import Limits

LIMITS = Limits(max_pixels=4_000_000, max_bytes=16_000_000)
LOSSY = {"jpeg": 12.0}


def opened(supply: Supply | Path, limits: Limits = LIMITS) -> Slide:
    slide = open_slide(OnDisk(paths=(supply,)) if isinstance(supply, Path) else supply, limits)
    assert slide is not None
    return slide


def whole(slide: Slide, level: int = 0) -> np.ndarray:
    largest = slide.levels[0].size
    box = Box(x=0, y=0, width=largest.width, height=largest.height)
    return np.asarray(slide.read(box, slide.levels[level].size)).astype(int)


@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize("stored", STORED)
def test_every_level_has_the_pixels_it_was_made_from(tmp_path: Path, stored: str, big: bool) -> None:
    made = ome_tiff(tmp_path / "a.ome.tif", stored, big=big)
    with closing(opened(made.paths[0])) as slide:
        assert (slide.format, slide.spacing, slide.steps) == ("OME-TIFF", pytest.approx(0.5), ())
        assert [(level.size.width, level.downsample) for level in slide.levels] == [
            (700, 1), (350, 2), (175, 4),
        ]  # fmt: skip
        for number, expected in enumerate(made.levels):
            assert np.abs(whole(slide, number) - expected).mean() <= LOSSY.get(stored, 0)
        part = np.asarray(slide.read(Box(x=300, y=200, width=150, height=140), Size(width=150, height=140)))
        expected = made.levels[0][200:340, 300:450].astype(int)
        assert np.abs(part - expected).mean() <= LOSSY.get(stored, 0)
        with pytest.raises(RegionOutside):
            slide.read(Box(x=651, y=0, width=50, height=50), Size(width=50, height=50))


def test_colours_of_jpeg_tiles_are_converted_once(tmp_path: Path) -> None:
    made = ome_tiff(tmp_path / "a.ome.tif", "jpeg")
    with closing(opened(made.paths[0])) as slide:
        assert np.abs(whole(slide).mean((0, 1)) - made.levels[0].mean((0, 1))).max() < 1


def test_of_a_remote_file_only_the_tiles_that_are_shown_are_fetched(tmp_path: Path) -> None:
    made = ome_tiff(tmp_path / "a.ome.tif", width=2800, height=2000, tile=256)
    pieces = FiledPieces(made.paths[0])
    with closing(opened(Remote(file=pieces))) as slide:
        shown = slide.read(Box(x=2300, y=1700, width=200, height=200), Size(width=200, height=200))
        assert np.array_equal(np.asarray(shown), made.levels[0][1700:1900, 2300:2500])
    assert sum(length for _, length in pieces.asked) < pieces.size / 3


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif").paths[0]
    with closing(opened(path)) as one, closing(opened(InMemory(data=path.read_bytes()))) as other:
        assert one.digest == other.digest
    with (
        closing(opened(Remote(file=FiledPieces(path)))) as far,
        closing(opened(Remote(file=FiledPieces(path)))) as again,
    ):
        assert far.digest == again.digest


@pytest.mark.parametrize(
    ("microns", "unit", "spacing"),
    [(250.0, "nm", 0.25), (0.00025, "mm", 0.25), (None, "", None), (0.0, "µm", None), (1.0, "pixel", None)],
)
def test_the_size_of_a_pixel_is_read_with_its_unit(
    tmp_path: Path, microns: float | None, unit: str, spacing: float | None
) -> None:
    made = ome_tiff(tmp_path / "a.ome.tif", microns=microns, unit=unit)
    with closing(opened(made.paths[0])) as slide:
        assert slide.spacing == (None if spacing is None else pytest.approx(spacing))


def test_colours_become_srgb_by_the_profile_of_the_file(tmp_path: Path) -> None:
    made = ome_tiff(tmp_path / "a.ome.tif", profile=swapped_profile())
    with closing(opened(made.paths[0])) as slide:
        assert slide.steps == ("ICC profile to sRGB",)
        assert np.abs(whole(slide) - made.levels[0][..., ::-1]).max() <= 2


def test_the_label_is_never_opened(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif").paths[0]
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        (label,) = file.pages[1:]
        for start, length in zip(label.dataoffsets, label.databytecounts, strict=True):
            data[start : start + length] = b"\xff" * length
    path.write_bytes(data)
    with closing(opened(path)) as slide:
        assert len(slide.levels) == 3
        assert whole(slide).std() > 10


def test_a_tile_that_was_never_written_is_white(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif").paths[0]
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        counts = file.pages[0].tags["TileByteCounts"]
        data[counts.valueoffset : counts.valueoffset + 4] = struct.pack("<I", 0)
    path.write_bytes(data)
    with closing(opened(path)) as slide:
        assert (whole(slide)[:128, :128] == 255).all()
        assert not (whole(slide)[128:256, 128:256] == 255).all()


def written(path: Path, pages: int = 1, **options: object) -> Path:
    shape = options.pop("shape", (300, 300, 3))
    dtype = options.pop("dtype", np.uint8)
    with tifffile.TiffWriter(path) as file:
        for _ in range(pages):
            file.write(np.zeros(shape, dtype), subifds=1, tile=(128, 128), metadata=None, **options)
            file.write(
                np.zeros((150, 150, *shape[2:]), dtype),
                subfiletype=1,
                tile=(128, 128),
                metadata=None,
                **options,
            )
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"photometric": "rgb", "dtype": np.uint16}, "other than 8 bits"),
        ({"photometric": "minisblack", "shape": (300, 300), "pages": 3}, "several channels"),
        ({"photometric": "cielab"}, "photometric 8"),
        ({"photometric": "rgb", "shape": (300, 300, 4), "extrasamples": ("unassalpha",)}, "4 samples"),
    ],
)  # fmt: skip
def test_what_would_be_shown_wrongly_is_refused_by_its_kind(tmp_path: Path, options: dict, says: str) -> None:
    with pytest.raises(UnsupportedImage, match=says):
        opened(written(tmp_path / "a.ome.tif", **options))


def test_a_grey_pyramid_and_the_first_of_several_planes_are_shown(tmp_path: Path) -> None:
    grey = written(tmp_path / "grey.tif", photometric="minisblack", shape=(300, 300))
    with closing(opened(grey)) as slide:
        assert (whole(slide) == 0).all()
    planes = written(tmp_path / "planes.tif", pages=3, photometric="rgb")
    with closing(opened(planes)) as slide:
        assert slide.steps == ("plane 1 of 3",)


def test_more_than_is_read_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", levels=1 + 1).paths[0]
    few = Limits(max_pixels=40_000, max_bytes=1000)
    with closing(opened(path, few)) as slide, pytest.raises(ImageTooLarge):
        slide.read(Box(x=0, y=0, width=700, height=500), Size(width=150, height=107))
    with pytest.raises(ImageTooLarge):
        opened(path, Limits(max_pixels=10_000, max_bytes=1000))


def test_a_file_that_was_cut_or_changed_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    """Neither hangs nor crashes, and says nothing but refusals of our own."""
    path = ome_tiff(tmp_path / "a.ome.tif", "deflate", width=300, height=200).paths[0]
    stored, refused = path.read_bytes(), 0
    chance = np.random.default_rng(3)
    for _ in range(150):
        data = bytearray(stored)
        for place in chance.integers(0, len(data), 20):
            data[place] = int(chance.integers(0, 256))
        head = chance.integers(0, 2)
        data = data[: int(chance.integers(8, len(data)))] if head else data
        try:
            slide = open_slide(InMemory(data=bytes(data)), LIMITS)
            if slide is not None:
                with closing(slide):
                    whole(slide)
        except ImageRefused:
            refused += 1
    assert refused > 50
