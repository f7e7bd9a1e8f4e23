"""Scanners' own formats through OpenSlide: a tiled TIFF as Aperio lays one out."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.slides import SRGB, FiledPieces, aperio_tiff, swapped_profile
from worker.errors import (
    ImageTooLarge,
    ImageUnreadable,
    ReferenceForbidden,
    RegionOutside,
    UnsupportedImage,
)
from worker.imaging.slide import Slide
from worker.imaging.slides import open_slide
from worker.imaging.supply import InMemory, OnDisk, Remote, Supply
from worker.imaging.units import Box, Size
from worker.imaging.wanted import Limits

openslide = pytest.importorskip("openslide", reason="the extra `slides` is not installed")
LIMITS = Limits(max_pixels=4_000_000, max_bytes=16_000_000)


def opened(supply: Supply) -> Slide:
    slide = open_slide(supply, LIMITS)
    assert slide is not None
    return slide


def whole(slide: Slide, level: int = 0) -> np.ndarray:
    largest = slide.levels[0].size
    box = Box(x=0, y=0, width=largest.width, height=largest.height)
    return np.asarray(slide.read(box, slide.levels[level].size)).astype(int)


@pytest.mark.parametrize("where", ["disk", "memory", "remote"])
def test_every_level_has_the_pixels_it_was_made_from(tmp_path: Path, where: str) -> None:
    made = aperio_tiff(tmp_path / "a.svs")
    supply = {
        "disk": OnDisk(paths=made.paths),
        "memory": InMemory(data=made.paths[0].read_bytes()),
        "remote": Remote(file=FiledPieces(made.paths[0])),
    }[where]
    with closing(opened(supply)) as slide:
        assert slide.format == "Aperio SVS"
        assert slide.spacing == pytest.approx(0.5)
        assert slide.steps == ()
        assert [(level.size.width, level.downsample) for level in slide.levels] == [
            (700, 1),
            (350, 2),
            (175, 4),
        ]
        for number, expected in enumerate(made.levels):
            assert np.array_equal(whole(slide, number), expected)
        shown = np.asarray(slide.read(Box(x=650, y=451, width=50, height=49), Size(width=50, height=49)))
        assert np.array_equal(shown, made.levels[0][451:, 650:])
        with pytest.raises(RegionOutside):
            slide.read(Box(x=651, y=0, width=50, height=50), Size(width=50, height=50))


def test_a_tiled_pyramid_of_nobody_in_particular_is_a_slide(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    levels = [np.full((512 >> n, 512 >> n, 3), 200 - n, np.uint8) for n in range(2)]
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(levels):
            file.write(level, photometric="rgb", tile=(128, 128), metadata=None, subfiletype=min(1, number))
    with closing(opened(OnDisk(paths=(path,)))) as slide:
        assert slide.format == "tiled TIFF"
        assert (whole(slide, 1) == 199).all()


@pytest.mark.parametrize("tile", [None, (128, 128)])
def test_a_plain_tiff_is_no_slide(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, np.zeros((300, 300, 3), np.uint8), photometric="rgb", tile=tile)
    assert open_slide(OnDisk(paths=(path,)), LIMITS) is None


def test_a_slide_of_unknown_pixel_size_says_so(tmp_path: Path) -> None:
    made = aperio_tiff(tmp_path / "a.svs", mpp=None)
    with closing(opened(OnDisk(paths=made.paths))) as slide:
        assert slide.spacing is None


def test_colours_become_srgb_by_the_profile_of_the_file(tmp_path: Path) -> None:
    made = aperio_tiff(tmp_path / "a.svs", profile=swapped_profile())
    with closing(opened(OnDisk(paths=made.paths))) as slide:
        assert slide.steps == ("ICC profile to sRGB",)
        assert np.abs(whole(slide) - made.levels[0][..., ::-1]).max() <= 2


def test_a_damaged_profile_is_left_out(tmp_path: Path) -> None:
    made = aperio_tiff(tmp_path / "a.svs", profile=b"\0" * len(SRGB))
    with closing(opened(OnDisk(paths=made.paths))) as slide:
        assert slide.steps == ("ICC profile unusable, left out",)
        assert np.array_equal(whole(slide), made.levels[0])


def test_the_label_is_never_opened(tmp_path: Path) -> None:
    """Its pixels, and those of the macro and the thumbnail, are pointed outside the file."""
    made = aperio_tiff(tmp_path / "a.svs")
    data = bytearray(made.paths[0].read_bytes())
    with tifffile.TiffFile(made.paths[0]) as file:
        pages = [page for page in file.pages if not page.is_tiled]
        assert len(pages) == 3
        for page in pages:
            for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                data[start : start + length] = b"\xff" * length
    made.paths[0].write_bytes(data)
    with closing(opened(OnDisk(paths=made.paths))) as slide:
        assert np.array_equal(whole(slide), made.levels[0])
        assert len(slide.levels) == 3


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    made = aperio_tiff(tmp_path / "a.svs")
    with (
        closing(opened(OnDisk(paths=made.paths))) as one,
        closing(opened(InMemory(data=made.paths[0].read_bytes()))) as other,
    ):
        assert one.digest == other.digest


def test_more_pixels_or_bytes_than_are_read_are_refused(tmp_path: Path) -> None:
    made = aperio_tiff(tmp_path / "a.svs", levels=1)
    few = Limits(max_pixels=100_000, max_bytes=1000)
    with pytest.raises(ImageTooLarge):
        open_slide(Remote(file=FiledPieces(made.paths[0])), few)
    slide = open_slide(OnDisk(paths=made.paths), few)
    assert slide is not None
    with closing(slide), pytest.raises(ImageTooLarge):
        slide.read(Box(x=0, y=0, width=700, height=500), Size(width=70, height=50))


def test_a_damaged_slide_is_unreadable(tmp_path: Path) -> None:
    made = aperio_tiff(tmp_path / "a.svs")
    data = made.paths[0].read_bytes()
    with tifffile.TiffFile(made.paths[0]) as file:
        last = max(file.pages[0].dataoffsets)
    made.paths[0].write_bytes(data[:8] + data[8:last].replace(b"\x42\x01", b"\x99\x99", 1) + data[last:])
    supply = OnDisk(paths=made.paths)
    try:
        slide = open_slide(supply, LIMITS)
    except (ImageUnreadable, UnsupportedImage):
        return
    assert slide is None


def test_without_the_extra_the_answer_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = aperio_tiff(tmp_path / "a.svs")
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(UnsupportedImage, match="extra `slides`"):
        open_slide(OnDisk(paths=made.paths), LIMITS)


def mirax(folder: Path, index: str) -> Path:
    path = folder / "a.mrxs"
    path.write_bytes(b"\xff\xd8\xff\xd9")
    (folder / "a").mkdir()
    (folder / "a" / "Slidedat.ini").write_text(index)
    return path


@pytest.mark.parametrize("name", ["../../secret.dat", "/etc/passwd", "..\\secret.dat"])
def test_a_mirax_slide_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = mirax(tmp_path, f"[DATAFILE]\nFILE_COUNT = 1\nFILE_0 = {name}\n")
    with pytest.raises(ReferenceForbidden):
        open_slide(OnDisk(paths=(path,)), LIMITS)


def test_a_mirax_slide_with_a_link_in_its_folder_is_refused(tmp_path: Path) -> None:
    path = mirax(tmp_path, "[DATAFILE]\nFILE_COUNT = 0\n")
    (tmp_path / "a" / "Data0000.dat").symlink_to("/etc/hostname")
    with pytest.raises(ReferenceForbidden):
        open_slide(OnDisk(paths=(path,)), LIMITS)


def test_a_photograph_called_mrxs_is_no_slide(tmp_path: Path) -> None:
    path = tmp_path / "a.mrxs"
    path.write_bytes(b"\xff\xd8\xff\xd9")
    assert open_slide(OnDisk(paths=(path,)), LIMITS) is None
