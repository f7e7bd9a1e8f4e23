"""Which windows are chosen on a slide, and what is written down of them."""

from __future__ import annotations

from contextlib import closing
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.drawn_slides import BLANK, CRUMBS, FAINT, GLASS, STRONG, TISSUE, Plan, drawn
from tests.picture_slide import PictureSlide
from worker.imaging.sampling import sampled
from worker.imaging.slides import open_slide
from worker.imaging.supply import InMemory
from worker.imaging.units import Box, Magnification, Size
from worker.imaging.wanted import Limits, Wanted
from worker.imaging.windows import choose

LIMITS = Limits(max_pixels=10_000_000, max_bytes=10_000_000)
#: 1024 x 768 pixels of 1 micron
SLIDE = PictureSlide(drawn(TISSUE["strong and faint"]).picture, spacing=1.0)


def wanted(**fields):
    return Wanted(**{"number": 0, "limits": LIMITS, "window": 128, "overview": 512} | fields)


def covers(one, other):
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def test_windows_lie_on_tissue_inside_the_slide_and_none_over_another():
    choice = choose(SLIDE, wanted())
    truth = drawn(TISSUE["strong and faint"]).tissue
    assert len(choice.windows) == 4
    for box in choice.windows:
        assert box.is_inside(SLIDE.levels[0].size)
        assert box.size == Size(width=128, height=128)
        assert truth[box.y : box.y + 128, box.x : box.x + 128].mean() > 0.5
    assert not any(covers(one, other) for one, other in combinations(choice.windows, 2))


def test_the_same_slide_gives_the_same_windows():
    again = PictureSlide(drawn(TISSUE["strong and faint"]).picture, spacing=1.0)
    assert choose(again, wanted()).windows == choose(SLIDE, wanted()).windows


def test_of_equals_the_upper_left_one_comes_first():
    piece = Image.new("RGB", (64, 64), (170, 80, 150))
    glass = Image.new("RGB", (512, 512), GLASS)
    for x in (300, 100):
        for y in (300, 100):
            glass.paste(piece, (x, y))
    windows = choose(PictureSlide(glass, spacing=1.0), wanted(window=64)).windows
    assert [(box.y > 200, box.x > 200) for box in windows] == [
        (False, False), (False, True), (True, False), (True, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spacing", "magnification", "side", "shown", "microns"),
    [
        (1.0, 10, 128, 128, 1.0),
        (0.5, 10, 256, 128, 1.0),
        (0.25, 10, 512, 128, 1.0),
        (0.25, 20, 256, 128, 0.5),
        (0.3, 10, 427, 128, 1.0),
        (0.25, None, 512, 128, 1.0),  # 10 x where nobody says another
        (1.0, 40, 128, 128, 1.0),  # no such level: the finest there is
        (None, 20, 128, 128, None),
    ],
)
def test_a_window_has_the_wanted_magnification_or_the_finest_there_is(
    spacing, magnification, side, shown, microns
):
    slide = PictureSlide(drawn(TISSUE["strong and faint"]).picture, spacing=spacing)
    asked = None if magnification is None else Magnification(magnification)
    window = next(
        each for each in sampled(slide, wanted(magnification=asked)) if each.record.part == "window"
    )
    assert window.record.region[2:] == (side, side)
    assert (window.record.width, window.record.height) == (shown, shown)
    assert window.record.spacing == (None if microns is None else pytest.approx(microns))
    is_finest = any("finest" in step for step in window.record.steps)
    assert is_finest is (spacing is None or (magnification or 10) > 10 / spacing)


def test_where_there_is_less_tissue_there_are_fewer_windows():
    slide = PictureSlide(drawn(Plan(strong=CRUMBS[:1])).picture, spacing=1.0)
    choice = choose(slide, wanted())
    assert len(choice.windows) == 1
    assert choice.tissue_covered > 0.9


def test_a_fragment_far_smaller_than_a_window_still_has_one():
    slide = PictureSlide(drawn(Plan(strong=CRUMBS[:1])).picture, spacing=1.0)
    assert len(choose(slide, wanted(window=600)).windows) == 1


@pytest.mark.parametrize("name", BLANK)
def test_on_glass_there_is_nothing_to_choose_and_the_overview_says_so(name):
    slide = PictureSlide(drawn(BLANK[name]).picture)
    [overview] = sampled(slide, wanted(overview=0))
    assert (overview.record.part, overview.record.tissue_covered) == ("overview", 0.0)
    assert choose(slide, wanted()).windows == ()


def test_smooth_tissue_is_looked_at_too():
    picture = Image.new("RGB", (512, 512), GLASS)
    picture.paste((200, 120, 170), (200, 200, 300, 300))
    inside = choose(PictureSlide(picture, spacing=1.0), wanted(window=50)).windows
    assert len(inside) >= 4


def test_more_windows_cover_more_tissue():
    covered = [choose(SLIDE, wanted(windows=count)).tissue_covered for count in (1, 2, 4, 8, 16)]
    assert covered == sorted(covered)
    assert 0 < covered[0] < covered[-1] <= 1


def test_a_slide_smaller_than_one_window_is_shown_whole_once():
    [only] = sampled(SLIDE, wanted(window=1024))
    assert (only.record.part, only.record.region) == ("window", (0, 0, 1024, 768))
    assert (only.record.width, only.record.height, only.record.tissue_covered) == (1024, 768, 1.0)


def test_a_slide_narrower_than_a_window_has_windows_of_its_width():
    strip = drawn(Plan(strong=[(0.05, 0.1, 0.9, 0.8)]), size=(1024, 160)).picture
    for box in choose(PictureSlide(strip, spacing=1.0), wanted(window=256)).windows:
        assert (box.width, box.height, box.y) == (256, 160, 0)


def test_the_record_says_where_each_picture_is_from():
    overview, *windows = seen = sampled(SLIDE, wanted(number=3))
    assert len(windows) == 4
    for each in seen:
        record = each.record
        assert len(each.rgb) == 3 * record.width * record.height
        assert (record.image, record.format, record.source_digest) == (3, "picture", SLIDE.digest)
        assert (record.slide_size, record.steps[0]) == ((1024, 768), "from a picture")
        assert record.mask_digest == choose(SLIDE, wanted()).mask.digest
        assert 0 < record.tissue_covered < 1
    assert overview.record.region == (0, 0, 1024, 768)
    assert (overview.record.width, overview.record.height, overview.record.spacing) == (512, 384, 2.0)
    assert [each.record.region for each in windows] == [
        (box.x, box.y, box.width, box.height) for box in choose(SLIDE, wanted()).windows
    ]


def test_what_was_taken_for_ink_is_told():
    slide = PictureSlide(drawn(TISSUE["green ink"]).picture)
    assert any("taken for ink" in step for step in sampled(slide, wanted())[0].record.steps)
    assert not any("ink" in step for step in sampled(SLIDE, wanted())[0].record.steps)


def test_without_a_shown_overview_the_windows_are_the_same():
    with_one, without = sampled(SLIDE, wanted(overview=1024)), sampled(SLIDE, wanted(overview=0))
    assert [each.record for each in with_one[1:]] == [each.record for each in without]


def test_the_slide_is_read_once_as_a_whole_and_then_only_in_windows():
    slide = PictureSlide(drawn(TISSUE["strong and faint"]).picture, spacing=1.0)
    sampled(slide, wanted())
    whole, *windows = slide.reads
    assert whole[1] == Size(width=512, height=384)
    assert len(windows) == 4
    assert all(size == Size(width=128, height=128) for _, size in windows)


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(20, 700), st.integers(20, 700)),
    asked=st.builds(
        wanted, window=st.integers(16, 400), overview=st.integers(16, 700), windows=st.integers(1, 16)
    ),
    spacing=st.sampled_from([None, 0.25, 0.7, 1.0, 3.0]),
    seed=st.integers(0, 9),
)
def test_any_slide_gives_windows_inside_it_none_twice(size, asked, spacing, seed):
    picture = drawn(Plan(strong=[STRONG], faint=[FAINT]), seed, size).picture
    slide = PictureSlide(picture, spacing=spacing)
    choice = choose(slide, asked)
    assert len(choice.windows) <= asked.windows
    assert bool(choice.windows) is bool(choice.mask.mask.any())
    assert 0 <= choice.tissue_covered <= 1
    assert all(box.is_inside(slide.levels[0].size) for box in choice.windows)
    assert len(set(choice.windows)) == len(choice.windows)


def test_on_a_real_slide_the_windows_lie_on_its_lymph_nodes(shared_data):
    """A level of a Camelyon slide; no threshold was set by it."""
    file = (shared_data / "dicom" / "ezwsi_camelyon_multiframe.dcm").read_bytes()
    with closing(open_slide(InMemory(data=file), LIMITS)) as slide:
        size = slide.levels[0].size
        picture = slide.read(Box(x=0, y=0, width=size.width, height=size.height), size)
    choice = choose(PictureSlide(picture, spacing=40.0), wanted(window=64, magnification=Magnification(0.25)))
    assert 0.2 < choice.mask.fraction < 0.3
    assert choice.mask.ink == 0.0
    for box in choice.windows:
        red, green, blue = picture.crop((box.x, box.y, box.x + 64, box.y + 64)).reduce(64).getpixel((0, 0))
        assert green < 140
        assert blue > red > green, "violet, as lymph nodes are with haematoxylin"
