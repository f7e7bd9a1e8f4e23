"""Bytes under their own digest, and nothing else."""

import hashlib
import shutil

import pytest

from worker import uploads
from worker.errors import DiskFull, ImageMissing, ImageTooLarge, ReferenceForbidden


def test_what_was_kept_is_found_under_its_digest(tmp_path):
    reference = uploads.keep(tmp_path, [b"ab", b"c"], max_bytes=10)
    assert reference == "upload:sha256-" + hashlib.sha256(b"abc").hexdigest()
    assert uploads.path_of(tmp_path, reference).read_bytes() == b"abc"


def test_the_same_bytes_are_kept_once(tmp_path):
    assert uploads.keep(tmp_path, [b"abc"], max_bytes=10) == uploads.keep(
        tmp_path, [b"a", b"bc"], max_bytes=10
    )
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def test_too_many_bytes_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ImageTooLarge):
        uploads.keep(tmp_path, [b"abc"] * 4, max_bytes=10)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_room_is_left_for_others_and_nothing_is_left_behind(tmp_path):
    with pytest.raises(DiskFull):
        uploads.keep(tmp_path / "uploads", [b"abc"], max_bytes=10, reserve_bytes=2**60)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_piece_that_would_go_into_the_reserve_is_not_written(tmp_path):
    half = shutil.disk_usage(tmp_path).free // 2
    draft = uploads.Draft(tmp_path, max_bytes=2**60, reserve_bytes=half)
    draft.write(b"abc")

    class Long(bytes):
        def __len__(self):
            return 2 * half

    with pytest.raises(DiskFull):
        draft.write(Long())
    draft.discard()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_room_is_looked_for_where_the_folder_will_be(tmp_path):
    uploads.check_room(tmp_path / "not" / "yet", 0)
    with pytest.raises(DiskFull):
        uploads.check_room(tmp_path / "not" / "yet", 2**60)


@pytest.mark.parametrize(
    "reference", ["upload:../../etc/passwd", "upload:sha256-xyz", "upload:sha256-" + "0" * 63]
)
def test_a_reference_that_is_not_a_digest_is_forbidden(tmp_path, reference):
    with pytest.raises(ReferenceForbidden):
        uploads.path_of(tmp_path, reference)


def test_an_upload_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(ImageMissing):
        uploads.path_of(tmp_path, "upload:sha256-" + "0" * 64)
