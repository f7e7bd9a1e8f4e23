"""Slides that are not whole yet, must not be seen, or are made to do harm: each ends in its own error."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset

from tests.slides import FAKE_NAME, FiledSeries, Recipe, dicom_series, set_frames, write
from worker.errors import (
    FetchFailed,
    ImageMissing,
    ImageRefused,
    ImageTooLarge,
    ImageUnreadable,
    PathlaneError,
    RegionOutside,
    SlideIncomplete,
    UnsupportedImage,
    UnsupportedTransferSyntax,
)
from worker.imaging.slides import open_slide
from worker.imaging.supply import Archived, InMemory, OnDisk, Remote
from worker.imaging.units import Box, Size
from worker.imaging.wanted import Limits

LIMITS = Limits(max_pixels=1_000_000, max_bytes=4_000_000)
ALL = Box(x=0, y=0, width=300, height=200)
SMALL = Recipe(width=300, height=200, levels=2, syntax="raw")


def series(folder: Path, **more: Any) -> list[Path]:
    return list(dicom_series(folder, replace(SMALL, **more)).paths)


def refusal(paths: list[Path], box: Box = ALL, size: Size | None = None) -> PathlaneError:
    with pytest.raises(PathlaneError) as raised:
        with_slide(paths, box, size or box.size)
    assert FAKE_NAME not in raised.value.public
    return raised.value


def with_slide(paths: list[Path], box: Box, size: Size) -> Image.Image:
    slide = open_slide(OnDisk(paths=tuple(paths)), LIMITS)
    assert slide is not None
    with closing(slide):
        return slide.read(box, size)


def changed(path: Path, change: Callable[[FileDataset], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    return write(path, dataset)


@pytest.mark.parametrize("organisation", ["TILED_FULL", "TILED_SPARSE"])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_concatenation_of_which_a_part_is_missing_is_tried_again(
    tmp_path: Path, organisation: str, left: int
) -> None:
    paths = series(tmp_path, parts=3, organisation=organisation)
    del paths[left]
    error = refusal(paths)
    assert type(error) is SlideIncomplete
    assert error.retryable
    assert error.code == "slide_incomplete"
    assert "2 of 3 parts" in error.public


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_part_is_missed_also_where_nobody_says_how_many_there_are(tmp_path: Path, left: int) -> None:
    paths = [
        changed(path, lambda one: one.pop("InConcatenationTotalNumber", None))
        for path in series(tmp_path, parts=3, levels=1)
    ]
    del paths[left]
    assert type(refusal(paths)) is SlideIncomplete


def test_one_part_alone_is_not_complete(tmp_path: Path) -> None:
    assert type(refusal(series(tmp_path, parts=2)[:1])) is SlideIncomplete


def test_a_series_without_its_largest_level_is_tried_again(tmp_path: Path) -> None:
    paths = series(tmp_path, levels=3)
    error = refusal(paths[1:])
    assert type(error) is SlideIncomplete
    assert "largest level" in error.public
    assert with_slide(paths[1:2], Box(x=0, y=0, width=150, height=100), Size(width=150, height=100))


def test_a_series_of_which_only_the_label_is_there_is_tried_again(tmp_path: Path) -> None:
    labels = series(tmp_path, labels=True)[-2:]
    assert type(refusal(labels)) is SlideIncomplete
    with pytest.raises(SlideIncomplete):
        open_slide(Archived(series=FiledSeries(labels)), LIMITS)


@pytest.mark.parametrize("which", [-1, -2])
def test_a_label_or_overview_alone_is_refused(tmp_path: Path, which: int) -> None:
    label = series(tmp_path, labels=True)[which]
    assert type(refusal([label])) is ImageRefused
    named = str(pydicom.dcmread(label).SOPInstanceUID)
    with pytest.raises(ImageRefused) as raised:
        open_slide(Archived(series=FiledSeries([label]), sop_instance_uid=named), LIMITS)
    assert type(raised.value) is ImageRefused


def test_nothing_of_a_label_is_read_but_that_it_is_one(tmp_path: Path) -> None:
    """Everything behind its Image Type is overwritten."""
    paths = series(tmp_path, labels=True)
    for label in paths[-2:]:
        data = label.read_bytes()
        name = b"LABEL" if b"LABEL" in data else b"OVERVIEW"
        place = data.index(b"UI", data.index(name))
        label.write_bytes(data[:place] + b"\xff" * (len(data) - place))
    assert with_slide(paths, ALL, ALL.size).size == (300, 200)


def test_no_frame_of_a_label_is_asked_of_an_archive(tmp_path: Path) -> None:
    archive = FiledSeries(series(tmp_path, labels=True))
    slide = open_slide(Archived(series=archive), LIMITS)
    assert slide is not None
    with closing(slide):
        for level in slide.levels:
            slide.read(ALL, level.size)
    asked = {name for name, _ in archive.asked}
    shown = {
        one["00080018"]["Value"][0] for one in archive.instances() if one["00080008"]["Value"][2] == "VOLUME"
    }
    assert asked == shown


@pytest.mark.parametrize("keyword", ["BurnedInAnnotation", "SpecimenLabelInImage"])
@pytest.mark.parametrize("level", [0, 1])
def test_a_level_that_is_marked_as_showing_text_is_refused(tmp_path: Path, keyword: str, level: int) -> None:
    paths = series(tmp_path)
    changed(paths[level], lambda one: setattr(one, keyword, "YES"))
    assert type(refusal(paths)) is ImageRefused


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.70", "JPEG Lossless"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4"),
        ("1.2.840.10008.1.2.1.99", "Deflated"),
    ],
)
def test_a_syntax_that_is_not_read_is_named(tmp_path: Path, syntax: str, name: str) -> None:
    path = series(tmp_path, syntax="jpeg", levels=1)[0]
    data = path.read_bytes()
    known = b"UI\x16\0" + uid.JPEGBaseline8Bit.encode()
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    grown = len(new) - len(known) + 4
    place = data.index(known)
    length = int.from_bytes(data[140:144], "little") + grown
    data = (
        data[:140]
        + length.to_bytes(4, "little")
        + data[144:place]
        + b"UI"
        + len(new).to_bytes(2, "little")
        + new
        + data[place + len(known) :]
    )
    path.write_bytes(data)
    error = refusal([path])
    assert type(error) is UnsupportedTransferSyntax
    assert name in error.public
    assert syntax in error.public


def claiming(side: int) -> dict[str, bytes]:
    """Frames of 128 x 128 whose own header says more."""
    tile = np.zeros((128, 128, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG")
    jpeg, j2k = file.getvalue(), bytes(encode_array(tile, photometric_interpretation=1))
    frame = jpeg.index(b"\xff\xc0")
    return {
        "jpeg": jpeg[: frame + 5] + side.to_bytes(2, "big") * 2 + jpeg[frame + 9 :],
        "j2k": j2k[:8] + side.to_bytes(4, "big") * 2 + j2k[16:],
    }


@pytest.mark.parametrize("syntax", ["jpeg", "j2k"])
def test_a_tile_that_is_larger_than_its_data_set_says_is_refused_before_it_is_decoded(
    tmp_path: Path, syntax: str
) -> None:
    path = series(tmp_path, syntax=syntax, levels=1)[0]
    changed(path, lambda one: set_frames(one, [claiming(13_000)[syntax]] * int(one.NumberOfFrames)))
    error = refusal([path])
    assert type(error) is ImageUnreadable
    assert "13000 x 13000 x 3 is declared as 128 x 128 x 3" in error.public


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("syntax", ["jpeg", "raw"])
def test_a_file_that_is_cut_short_is_unreadable(tmp_path: Path, syntax: str, where: float) -> None:
    path = series(tmp_path, syntax=syntax, levels=1)[0]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * where)])
    assert type(refusal([path])) in (ImageUnreadable, UnsupportedImage)


def test_a_frame_in_several_items_is_read_whole(tmp_path: Path) -> None:
    path = series(tmp_path, syntax="jpeg", levels=1)[0]
    before = np.asarray(with_slide([path], ALL, ALL.size))

    def split(one: FileDataset) -> None:
        frames = list(pydicom.encaps.generate_frames(one.PixelData, number_of_frames=int(one.NumberOfFrames)))
        one.PixelData = pydicom.encaps.encapsulate(frames, fragments_per_frame=3)
        one["PixelData"].is_undefined_length = True

    changed(path, split)
    assert np.array_equal(np.asarray(with_slide([path], ALL, ALL.size)), before)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: setattr(one, "NumberOfFrames", 5),
        lambda one: setattr(one, "NumberOfFrames", 1_000_000),
        lambda one: setattr(one, "TotalPixelMatrixColumns", 0),
        lambda one: setattr(one, "Rows", 64),
    ],
)
def test_numbers_that_do_not_agree_are_unreadable(
    tmp_path: Path, change: Callable[[FileDataset], None]
) -> None:
    path = changed(series(tmp_path, levels=1)[0], change)
    assert type(refusal([path], Box(x=0, y=0, width=1, height=1))) is ImageUnreadable


def test_a_matrix_of_more_tiles_than_any_slide_has_is_too_large(tmp_path: Path) -> None:
    def grow(one: FileDataset) -> None:
        one.TotalPixelMatrixColumns = one.TotalPixelMatrixRows = 2**31 - 1

    path = changed(series(tmp_path, organisation="TILED_SPARSE", levels=1)[0], grow)
    assert type(refusal([path])) is ImageTooLarge


def test_tiles_that_overlap_are_not_put_together_wrongly(tmp_path: Path) -> None:
    def shift(one: FileDataset) -> None:
        position = one.PerFrameFunctionalGroupsSequence[1].PlanePositionSlideSequence[0]
        position.ColumnPositionInTotalImagePixelMatrix = 100

    path = changed(series(tmp_path, organisation="TILED_SPARSE", levels=1)[0], shift)
    assert type(refusal([path])) is UnsupportedImage


@pytest.mark.parametrize(
    ("box", "size", "error"),
    [
        (Box(x=250, y=0, width=51, height=10), Size(width=10, height=10), RegionOutside),
        (ALL, Size(width=1001, height=1000), ImageTooLarge),
    ],
)
def test_what_is_asked_beyond_the_slide_or_the_limits(
    tmp_path: Path, box: Box, size: Size, error: type[ImageRefused]
) -> None:
    assert type(refusal(series(tmp_path), box, size)) is error


def test_files_of_several_series_are_not_mixed(tmp_path: Path) -> None:
    paths = series(tmp_path)
    changed(paths[1], lambda one: setattr(one, "SeriesInstanceUID", "1.2.3"))
    assert type(refusal(paths)) is UnsupportedImage


def test_an_instance_that_the_series_does_not_have_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing):
        open_slide(Archived(series=FiledSeries(series(tmp_path)), sop_instance_uid="1.2.3"), LIMITS)


class BrokenPieces:
    size = 1_000_000

    def read(self, offset: int, length: int) -> bytes:
        raise FetchFailed


def test_a_remote_file_that_fails_is_tried_again() -> None:
    with pytest.raises(FetchFailed):
        open_slide(Remote(file=BrokenPieces()), LIMITS)


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_that_went_away_is_missing(tmp_path: Path, count: int) -> None:
    paths = series(tmp_path)
    paths[0].unlink()
    assert type(refusal(paths[:count])) is ImageMissing


def test_what_is_no_slide_is_left_to_other_readers(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (10, 10)).save(file, "PNG")
    for data in (b"", b"\0" * 1000, file.getvalue(), b"II*\0\xff\xff"):
        assert open_slide(InMemory(data=data), LIMITS) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_ends_in_anything_but_a_refusal(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "slide" / "level0.dcm"
    if not path.exists():
        series(path.parent, organisation="TILED_SPARSE", syntax="jpeg", levels=1)
    damaged = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(132, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    with suppress(PathlaneError):
        slide = open_slide(InMemory(data=bytes(damaged)), LIMITS)
        if slide is not None:
            with closing(slide):
                slide.read(Box(x=0, y=0, width=200, height=150), Size(width=100, height=75))


_VAST = """
import resource, sys
from pathlib import Path
from contextlib import closing, suppress
from worker.imaging.dicom_slide import open_dicom_slide
from worker.imaging.supply import OnDisk
from worker.imaging.units import Box, Size
from worker.imaging.wanted import Limits
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
limits = Limits(max_pixels=100_000_000, max_bytes=512 * 1024 * 1024)
with closing(open_dicom_slide(OnDisk(paths=(Path(sys.argv[1]),)), limits)) as slide:
    assert (slide.levels[0].size.width, slide.levels[0].size.height) == (100_000, 80_000)
    shown = [
        slide.read(Box(x=x, y=y, width=1024, height=1024), Size(width=1024, height=1024)).getpixel((0, 0))
        for x, y in ((0, 0), (98_976, 78_976), (51_200, 40_960), (30_000, 20_000))
    ]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, shown)
"""


def test_a_vast_slide_costs_little_memory(tmp_path: Path) -> None:
    """100,000 x 80,000 pixels in 122,383 tiles, of which three are there."""
    path = series(tmp_path, levels=1, organisation="TILED_SPARSE", syntax="jpeg", tile=256)[0]

    def grow(one: FileDataset) -> None:
        one.TotalPixelMatrixColumns, one.TotalPixelMatrixRows = 100_000, 80_000
        tile = Image.new("RGB", (256, 256), (200, 100, 150))
        file = io.BytesIO()
        tile.save(file, "JPEG")
        set_frames(one, [file.getvalue()] * 3)
        places = one.PerFrameFunctionalGroupsSequence = [
            deepcopy(one.PerFrameFunctionalGroupsSequence[0]) for _ in range(3)
        ]
        for group, (column, row) in zip(
            places, ((1, 1), (390 * 256 + 1, 312 * 256 + 1), (51_201, 40_961)), strict=True
        ):
            position = group.PlanePositionSlideSequence[0]
            position.ColumnPositionInTotalImagePixelMatrix = column
            position.RowPositionInTotalImagePixelMatrix = row

    changed(path, grow)
    ran = subprocess.run(
        [sys.executable, "-c", _VAST, str(path)], capture_output=True, text=True, timeout=300, check=True
    )
    grown, shown = ran.stdout.split(maxsplit=1)
    assert int(grown) < 600 * 1024
    tissue = [colour != "(255, 255, 255)" for colour in shown.strip("[]\n").replace("), ", ")|").split("|")]
    assert tissue == [True, False, True, False]
