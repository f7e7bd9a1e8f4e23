"""Bytes under their own digest, and nothing else."""

import hashlib

import pytest

from worker import uploads
from worker.errors import ImageMissing, ImageTooLarge, ReferenceForbidden


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


@pytest.mark.parametrize(
    "reference", ["upload:../../etc/passwd", "upload:sha256-xyz", "upload:sha256-" + "0" * 63]
)
def test_a_reference_that_is_not_a_digest_is_forbidden(tmp_path, reference):
    with pytest.raises(ReferenceForbidden):
        uploads.path_of(tmp_path, reference)


def test_an_upload_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(ImageMissing):
        uploads.path_of(tmp_path, "upload:sha256-" + "0" * 64)
