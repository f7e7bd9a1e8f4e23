"""What a command line names: files are uploaded, a folder is one series, a region is in pixels or millimetres."""

import click
import pytest

from integrations.commands.references import Part, reference_of
from worker import uploads
from worker.errors import ImageMissing, ImageTooLarge
from worker.jobs.request import ImageReference, Region
from worker.settings import ImagingSettings


@pytest.fixture
def settings(tmp_path):
    return ImagingSettings(uploads_dir=tmp_path / "uploads", uploads_reserve_bytes=0)


def part(**said):
    empty = {"region": None, "frame": None, "magnification": None, "windows": None}
    return Part(**(empty | said)).fields()


def dicom(number: int) -> bytes:
    return bytes(128) + b"DICM" + bytes([number])


def test_a_folder_is_one_reference_to_the_dicom_files_in_it(tmp_path, settings):
    folder = tmp_path / "slide"
    (folder / "deeper").mkdir(parents=True)
    for name, data in (("b", dicom(2)), ("a", dicom(1)), ("twice", dicom(1)), ("notes.txt", b"no DICOM")):
        (folder / name).write_bytes(data)
    (folder / "link").symlink_to(folder / "a")
    reference = reference_of(str(folder), settings)
    kept = [path.read_bytes() for path in uploads.paths_of(settings.uploads_dir, reference)]
    assert kept == [dicom(1), dicom(2)]


def test_a_folder_without_dicom_or_with_too_much_is_refused_and_nothing_is_uploaded(tmp_path, settings):
    folder = tmp_path / "slide"
    folder.mkdir()
    with pytest.raises(ImageMissing):
        reference_of(str(folder), settings)
    for number in range(uploads.MOST_FILES + 1):
        (folder / f"{number}.dcm").write_bytes(dicom(number))
    with pytest.raises(ImageTooLarge):
        reference_of(str(folder), settings)
    with pytest.raises(ImageMissing):
        reference_of(str(tmp_path / "nothing"), settings)
    assert not settings.uploads_dir.exists()


@pytest.mark.parametrize(
    "reference", ["file:///a/b", "upload:sha256-0", "dicomweb:main/studies/1", "s3://a/b"]
)
def test_a_reference_stays_what_it_is(reference, settings):
    assert reference_of(reference, settings) == reference


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("1,2,3,4", Region(x=1, y=2, width=3, height=4)),
        ("0.5,1,2.25,3mm", Region(x=0.5, y=1, width=2.25, height=3, unit="mm")),
        (" 1,2,3,4 mm ", Region(x=1, y=2, width=3, height=4, unit="mm")),
    ],
)
def test_a_region_is_in_pixels_unless_it_says_mm(text, region):
    entry = ImageReference(reference="file:///a", **part(region=text, magnification=20.0, windows=2))
    assert (entry.region, entry.magnification, entry.windows) == (region, 20, 2)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "0.5,1,2,3", "1,2,3,4cm", ""])
def test_what_is_no_region_is_refused_with_a_sentence(text):
    with pytest.raises(click.BadParameter, match="X,Y,WIDTH,HEIGHT"):
        part(region=text)


def test_what_is_not_said_is_no_field():
    assert part() == {}
