"""DICOM whole slides, in each organisation and encoding, against OpenSlide and the pixels they were made from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pydicom
import pytest
from PIL import Image

from tests.slides import CODECS, SRGB, FiledPieces, FiledSeries, Made, Recipe, dicom_series, swapped_profile
from worker.imaging.dicom_slide import ICC_MISSING
from worker.imaging.slide import Slide
from worker.imaging.slides import open_slide
from worker.imaging.supply import Archived, InMemory, OnDisk, Remote, Supply
from worker.imaging.units import Box, Size
from worker.imaging.wanted import Limits

LIMITS = Limits(max_pixels=4_000_000, max_bytes=16_000_000)
DATA = Path(__file__).parents[4] / "shared" / "data" / "dicom"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data beside the repository")

Make = Callable[[Recipe], Made]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Each recipe is cooked once."""
    known: dict[str, Made] = {}

    def cook(recipe: Recipe) -> Made:
        name = str(hash(repr(recipe)))
        if name not in known:
            known[name] = dicom_series(tmp_path_factory.mktemp("slide"), recipe)
        return known[name]

    return cook


def opened(supply: Supply) -> Slide:
    slide = open_slide(supply, LIMITS)
    assert slide is not None
    return slide


def on_disk(made: Made) -> Slide:
    return opened(OnDisk(paths=made.paths))


def whole(slide: Slide, level: int = 0) -> np.ndarray:
    largest = slide.levels[0].size
    return pixels(slide, (0, 0, largest.width, largest.height), slide.levels[level].size)


def pixels(slide: Slide, box: tuple[int, int, int, int], size: Size | None = None) -> np.ndarray:
    where = Box(x=box[0], y=box[1], width=box[2], height=box[3])
    return np.asarray(slide.read(where, size or where.size)).astype(int)


ORGANISATIONS: list[dict[str, Any]] = [
    {"organisation": "TILED_FULL"},
    {"organisation": "TILED_SPARSE"},
    {"organisation": "TILED_FULL", "parts": 2},
    {"organisation": "TILED_SPARSE", "parts": 2},
]


@pytest.mark.parametrize("syntax", CODECS)
@pytest.mark.parametrize("organisation", ORGANISATIONS, ids=lambda one: "-".join(map(str, one.values())))
def test_every_level_has_the_pixels_it_was_made_from(
    make: Make, organisation: dict[str, Any], syntax: str
) -> None:
    made = make(Recipe(syntax=syntax, labels=True, **organisation))
    with closing(on_disk(made)) as slide:
        assert [level.size for level in slide.levels] == [
            Size(width=level.shape[1], height=level.shape[0]) for level in made.levels
        ]
        assert slide.format == f"DICOM WSI {CODECS[syntax].uid}"
        assert slide.spacing == pytest.approx(0.5)
        for number, expected in enumerate(made.levels):
            difference = np.abs(whole(slide, number) - expected)
            assert difference.max() == 0 if syntax != "jpeg" else difference.mean() < 2.5


@pytest.mark.parametrize("syntax", ["jpeg", "j2k", "raw"])  # OpenSlide reads no RLE
@pytest.mark.parametrize("organisation", ORGANISATIONS, ids=lambda one: "-".join(map(str, one.values())))
def test_openslide_sees_the_same(make: Make, organisation: dict[str, Any], syntax: str) -> None:
    made = make(Recipe(syntax=syntax, labels=True, **organisation))
    with closing(on_disk(made)) as slide, openslide.OpenSlide(made.paths[0]) as other:
        assert other.level_dimensions == tuple((one.size.width, one.size.height) for one in slide.levels)
        assert float(other.properties["openslide.mpp-x"]) == pytest.approx(slide.spacing)
        for box in ((0, 0, 700, 500), (100, 90, 300, 200), (127, 127, 2, 2), (640, 400, 60, 100)):
            theirs = np.asarray(other.read_region(box[:2], 0, box[2:]).convert("RGB")).astype(int)
            assert np.abs(pixels(slide, box) - theirs).max() <= (1 if syntax == "jpeg" else 0)
        for number, size in enumerate(other.level_dimensions):
            theirs = np.asarray(other.read_region((0, 0), number, size).convert("RGB")).astype(int)
            assert np.abs(whole(slide, number) - theirs).max() <= (1 if syntax == "jpeg" else 0)


@pytest.mark.parametrize("organisation", ["TILED_FULL", "TILED_SPARSE"])
def test_the_first_optical_path_and_the_middle_focal_plane_are_shown_and_recorded(
    make: Make, organisation: str
) -> None:
    made = make(Recipe(organisation=organisation, syntax="raw", paths=2, planes=3))
    with closing(on_disk(made)) as slide:
        assert slide.steps == ("focal plane 2 of 3", "optical path 1 of 2", "ICC profile to sRGB")
        for number, expected in enumerate(made.levels):
            assert np.array_equal(whole(slide, number), expected)


def test_a_tile_that_is_not_there_is_white(make: Make) -> None:
    made = make(Recipe(organisation="TILED_SPARSE", syntax="raw", missing=frozenset({(0, 0), (1, 2)})))
    with closing(on_disk(made)) as slide:
        shown = whole(slide)
    assert (shown[:128, :128] == 255).all()
    assert (shown[128:256, 256:384] == 255).all()
    rest = np.ones(shown.shape[:2], bool)
    rest[:128, :128] = rest[128:256, 256:384] = False
    assert np.array_equal(shown[rest], made.levels[0][rest])


def test_a_region_between_two_levels_looks_like_the_picture_made_smaller(make: Make) -> None:
    made = make(Recipe(syntax="raw", width=1400, height=1000))
    with closing(on_disk(made)) as slide:
        shown = pixels(slide, (200, 100, 900, 600), Size(width=300, height=200))
    expected = Image.fromarray(made.levels[0]).crop((200, 100, 1100, 700)).resize((300, 200))
    assert np.abs(shown - np.asarray(expected).astype(int)).mean() < 4


def supplies(made: Made, folder: str) -> Supply:
    if folder == "memory":
        return InMemory(data=made.paths[0].read_bytes())
    if folder == "remote":
        return Remote(file=FiledPieces(made.paths[0]))
    if folder == "archive":
        return Archived(series=FiledSeries(made.paths))
    return OnDisk(paths=made.paths[:1])


@pytest.mark.parametrize("where", ["memory", "remote", "disk", "archive"])
@pytest.mark.parametrize("syntax", ["jpeg", "raw"])
@pytest.mark.parametrize("organisation", ["TILED_FULL", "TILED_SPARSE"])
def test_a_slide_is_the_same_wherever_it_lies(make: Make, organisation: str, syntax: str, where: str) -> None:
    made = make(Recipe(organisation=organisation, syntax=syntax, labels=True))
    with closing(on_disk(made)) as slide, closing(opened(supplies(made, where))) as other:
        assert len(other.levels) == (3 if where == "archive" else 1)
        assert (other.steps, other.spacing) == (slide.steps, slide.spacing)
        assert np.array_equal(whole(other), whole(slide))
        if where == "archive":
            assert np.array_equal(whole(other, 2), whole(slide, 2))
            assert other.digest == slide.digest


def test_a_file_alone_is_known_by_its_bytes(make: Make) -> None:
    made = make(Recipe())
    with closing(opened(supplies(made, "memory"))) as one, closing(opened(supplies(made, "disk"))) as other:
        assert one.digest == other.digest
        assert one.digest.startswith("sha256:")
    with closing(on_disk(made)) as series:
        assert series.digest != one.digest


def test_a_window_costs_an_archive_one_request_for_its_tiles_alone(make: Make) -> None:
    series = FiledSeries(make(Recipe(labels=True)).paths)
    with closing(opened(Archived(series=series))) as slide:
        assert series.asked == []
        slide.read(Box(x=130, y=130, width=200, height=100), Size(width=200, height=100))
    assert [numbers for _, numbers in series.asked] == [(8, 9)]


def test_a_window_of_a_remote_file_is_read_without_the_rest_of_it(make: Make) -> None:
    made = make(Recipe(width=1400, height=1000, levels=1, syntax="raw"))
    file = FiledPieces(made.paths[0])
    with closing(opened(Remote(file=file))) as slide:
        assert np.array_equal(pixels(slide, (0, 0, 100, 100)), made.levels[0][:100, :100])
    assert sum(length for _, length in file.asked) < file.size / 2


def test_an_instance_that_is_named_is_the_slide(make: Make) -> None:
    series = FiledSeries(make(Recipe(labels=True)).paths)
    named = next(one for one in series.instances() if one["00480006"]["Value"] == [350])
    supply = Archived(series=series, sop_instance_uid=named["00080018"]["Value"][0])
    with closing(opened(supply)) as slide:
        assert [level.size.width for level in slide.levels] == [350]
        assert slide.spacing == pytest.approx(1.0)


def test_all_parts_of_a_concatenation_belong_to_a_named_one(make: Make) -> None:
    made = make(Recipe(parts=2, syntax="raw"))
    series = FiledSeries(made.paths)
    named = next(one for one in series.instances() if one.get("00209162", {}).get("Value") == [2])
    supply = Archived(series=series, sop_instance_uid=named["00080018"]["Value"][0])
    with closing(opened(supply)) as slide:
        assert len(slide.levels) == 1
        assert np.array_equal(whole(slide), made.levels[0])


def test_colours_become_srgb_by_the_profile_of_the_optical_path(make: Make) -> None:
    made = make(Recipe(syntax="raw", profile=swapped_profile()))
    with closing(on_disk(made)) as slide:
        assert slide.steps == ("ICC profile to sRGB",)
        assert np.abs(whole(slide) - made.levels[0][..., ::-1]).max() <= 2


def test_a_slide_without_a_profile_keeps_its_colours(make: Make) -> None:
    made = make(Recipe(syntax="raw", profile=None))
    with closing(on_disk(made)) as slide:
        assert slide.steps == ()
        assert np.array_equal(whole(slide), made.levels[0])


def test_a_damaged_profile_is_left_out(make: Make) -> None:
    made = make(Recipe(syntax="raw", profile=b"no profile at all"))
    with closing(on_disk(made)) as slide:
        assert slide.steps == ("ICC profile unusable, left out",)
        assert np.array_equal(whole(slide), made.levels[0])


def test_a_profile_that_an_archive_keeps_to_itself_is_named(make: Make) -> None:
    made = make(Recipe(syntax="raw", profile=SRGB))
    with closing(opened(Archived(series=FiledSeries(made.paths, inline=False)))) as slide:
        assert slide.steps == (ICC_MISSING,)
        assert np.array_equal(whole(slide), made.levels[0])


def test_the_size_of_a_pixel_is_taken_from_the_imaged_volume_where_no_spacing_is_given(make: Make) -> None:
    volume = {"ImagedVolumeWidth": 0.35, "ImagedVolumeHeight": 0.25}
    with closing(on_disk(make(Recipe(levels=1, spacing=None, attributes=volume)))) as slide:
        assert slide.spacing == pytest.approx(0.5)
    with closing(on_disk(make(Recipe(levels=1, spacing=None)))) as slide:
        assert slide.spacing is None


def test_another_pyramid_in_the_series_is_left_out(make: Make, tmp_path: Path) -> None:
    made = make(Recipe(syntax="raw"))
    other = dicom_series(tmp_path, Recipe(syntax="raw", width=300, height=290, levels=1))
    dataset = pydicom.dcmread(other.paths[0])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.save_as(other.paths[0], enforce_file_format=True)
    with closing(opened(OnDisk(paths=(*other.paths, *made.paths)))) as slide:
        assert [level.size.width for level in slide.levels] == [700, 350, 175]


@needs_data
def test_a_real_level_has_the_colours_that_openslide_sees() -> None:
    path = DATA / "ezwsi_camelyon_multiframe.dcm"
    with closing(opened(OnDisk(paths=(path,)))) as slide, openslide.OpenSlide(path) as other:
        theirs = np.asarray(other.read_region((0, 0), 0, other.dimensions).convert("RGB")).astype(int)
        shown = whole(slide)
        assert np.abs(shown - theirs).max() <= 1
    rose = shown.mean((0, 1))
    assert rose[2] > rose[0] > rose[1]


@needs_data
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("highdicom_sm_image.dcm", ("ICC profile to sRGB",)),
        ("highdicom_sm_image_dots.dcm", ("ICC profile to sRGB",)),
        ("highdicom_sm_image_jpegls.dcm", ("ICC profile to sRGB",)),
        ("highdicom_sm_image_grayscale.dcm", ("range of 16 bits",)),
    ],
)
def test_slides_of_others_are_read(name: str, steps: tuple[str, ...]) -> None:
    with closing(opened(OnDisk(paths=(DATA / name,)))) as slide:
        assert slide.levels[0].size == Size(width=50, height=50)
        assert slide.steps == steps
        assert whole(slide).shape == (50, 50, 3)
