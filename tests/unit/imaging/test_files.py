from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.errors import ImageMissing, ImageTooLarge, PathlaneError, ReferenceForbidden
from worker.imaging import files
from worker.imaging.files import file_supply, held, path_in
from worker.settings import ImagingSettings


def read(reference: str, settings: ImagingSettings) -> bytes:
    with held(supply(reference, settings), settings.image_roots) as opened:
        return b"|".join(path.read_bytes() for path in opened.paths)


def supply(reference: str, settings: ImagingSettings):
    return file_supply(reference, settings.image_roots, max_bytes=settings.max_slide_bytes)


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("file:/a/b.png", "/a/b.png"),
        ("file:///a/b.png", "/a/b.png"),
        ("file://localhost/a/b.png", "/a/b.png"),
        ("file:///a/with%20blank.png", "/a/with blank.png"),
        ("file:///a/100%25.png", "/a/100%.png"),
        ("file:///a/M%C3%BCller.png", "/a/Müller.png"),
        ("file:///a/q?.png", "/a/q?.png"),
    ],
)
def test_file_references_name_an_absolute_path(reference: str, path: str) -> None:
    assert path_in(reference) == Path(path)


@pytest.mark.parametrize(
    "reference", ["file:a.png", "file://host/a.png", "file:///a%00.png", "file:", "file://"]
)
def test_other_file_references_are_forbidden(reference: str) -> None:
    with pytest.raises(ReferenceForbidden):
        path_in(reference)


def test_a_file_under_a_root_is_read(settings: ImagingSettings) -> None:
    (settings.image_roots[0] / "case 1").mkdir()
    file = settings.image_roots[0] / "case 1" / "tile ü.png"
    file.write_bytes(b"pixels")
    assert read(file.as_uri(), settings) == b"pixels"
    assert read(f"file:{file}", settings) == b"pixels"


def test_a_link_inside_a_root_may_be_followed_and_one_that_leads_out_may_not(
    settings: ImagingSettings,
) -> None:
    root = settings.image_roots[0]
    (root / "tile.png").write_bytes(b"pixels")
    (root.parent / "secret").write_bytes(b"secret")
    (root / "inside").symlink_to(root / "tile.png")
    (root / "outside").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    (root / "circle").symlink_to(root / "circle")
    assert read((root / "inside").as_uri(), settings) == b"pixels"
    for name in ("outside", "folder/secret", "circle", "../secret", "%2e%2e/secret"):
        with pytest.raises(ReferenceForbidden):
            read(f"{root.as_uri()}/{name}", settings)


def test_a_root_may_itself_be_a_link(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    (root / "tile.png").write_bytes(b"pixels")
    (root.parent / "link").symlink_to(root)
    linked = settings.model_copy(update={"image_roots": (root.parent / "link",)})
    assert read((root / "tile.png").as_uri(), linked) == b"pixels"


def test_outside_the_roots_nobody_learns_what_exists(settings: ImagingSettings) -> None:
    for path in ("/etc/passwd", "/etc/no-such-file", str(settings.image_roots[0]) + "-other/tile.png"):
        with pytest.raises(ReferenceForbidden):
            read(f"file://{path}", settings)


def test_without_roots_no_file_opens(settings: ImagingSettings) -> None:
    file = settings.image_roots[0] / "tile.png"
    file.write_bytes(b"pixels")
    with pytest.raises(ReferenceForbidden):
        read(file.as_uri(), settings.model_copy(update={"image_roots": ()}))


def test_a_link_put_in_place_after_the_check_is_not_followed(
    settings: ImagingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = settings.image_roots[0]
    (root.parent / "secret").write_bytes(b"secret")
    (root / "tile.png").symlink_to(root.parent / "secret")
    monkeypatch.setattr(Path, "resolve", lambda path: path)
    with pytest.raises(PathlaneError) as refusal:
        read((root / "tile.png").as_uri(), settings)
    assert str(root) not in refusal.value.public


@pytest.mark.timeout(10)
def test_only_regular_files_are_read(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    os.mkfifo(root / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(ReferenceForbidden):
            read(f"{root.as_uri()}/{name}", settings)


def test_a_missing_file_is_missing_and_a_large_one_too_large(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    (root / "large").write_bytes(b"x" * 1025)
    with pytest.raises(ImageMissing) as refusal:
        read((root / "no-such-file").as_uri(), settings)
    assert "no-such-file" not in refusal.value.public
    with pytest.raises(ImageTooLarge):
        read((root / "large").as_uri(), settings.model_copy(update={"max_slide_bytes": 1024}))


def dicom(mark: bytes) -> bytes:
    return b"\0" * 128 + b"DICM" + mark


def test_a_folder_is_the_dicom_files_in_it_and_in_none_of_its_folders(settings: ImagingSettings) -> None:
    folder = settings.image_roots[0] / "series"
    (folder / "deeper").mkdir(parents=True)
    (folder / "2.dcm").write_bytes(dicom(b"two"))
    (folder / "1").write_bytes(dicom(b"one"))
    (folder / "deeper" / "3.dcm").write_bytes(dicom(b"three"))
    (folder / "Thumbs.db").write_bytes(b"no image")
    (folder / "link.dcm").symlink_to(folder / "1")
    os.mkfifo(folder / "pipe.dcm")
    assert [path.name for path in supply(folder.as_uri(), settings).paths] == ["1", "2.dcm"]
    assert read(folder.as_uri(), settings) == dicom(b"one") + b"|" + dicom(b"two")


def test_a_folder_has_so_many_files_and_bytes_and_no_more(
    settings: ImagingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.image_roots[0] / "series"
    folder.mkdir()
    with pytest.raises(ImageMissing):
        supply(folder.as_uri(), settings)
    for name in "ab":
        (folder / name).write_bytes(dicom(b"x" * 500))
    with pytest.raises(ImageTooLarge):
        supply(folder.as_uri(), settings.model_copy(update={"max_slide_bytes": 1024}))
    for limit in ("MOST_FILES", "MOST_NAMES"):
        with monkeypatch.context() as patch:
            patch.setattr(files, limit, 1)
            with pytest.raises(ImageTooLarge):
                supply(folder.as_uri(), settings)


def test_a_held_file_stays_the_one_that_was_checked(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    (root.parent / "secret").write_bytes(b"secret")
    (root / "tile.png").write_bytes(b"pixels")
    with held(supply((root / "tile.png").as_uri(), settings), settings.image_roots) as opened:
        (root / "tile.png").unlink()
        (root / "tile.png").symlink_to(root.parent / "secret")
        assert opened.paths[0].read_bytes() == b"pixels"


def test_what_was_swapped_between_the_check_and_the_opening_is_not_opened(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "tile.png").write_bytes(b"secret")
    (root / "case").mkdir()
    (root / "case" / "tile.png").write_bytes(b"pixels")
    found = supply((root / "case" / "tile.png").as_uri(), settings)
    (root / "case" / "tile.png").unlink()
    (root / "case").rmdir()
    (root / "case").symlink_to(root.parent / "outside")
    with pytest.raises(PathlaneError), held(found, settings.image_roots):
        pass


def test_a_format_whose_other_files_are_found_by_its_name_keeps_it(settings: ImagingSettings) -> None:
    file = settings.image_roots[0] / "slide.mrxs"
    file.write_bytes(b"x")
    with held(supply(file.as_uri(), settings), settings.image_roots) as opened:
        assert opened.paths == (file,)
