from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker import uploads
from worker.errors import ImageMissing, ImageTooLarge, ImageUnreadable, ReferenceForbidden
from worker.imaging.uploaded import Verified, upload_supply


def opened(folder: Path, reference: str, *, small: int = 1000, verified: Verified | None = None):
    return upload_supply(reference, folder, max_bytes=1000, verified=verified or Verified(), small=small)


def test_an_upload_is_its_file_once_its_digest_was_checked(tmp_path: Path) -> None:
    reference = uploads.keep(tmp_path, [b"pixels"], max_bytes=100)
    (path,) = opened(tmp_path, reference).paths
    assert path.read_bytes() == b"pixels"
    path.write_bytes(b"others")
    with pytest.raises(ImageUnreadable):
        opened(tmp_path, reference)
    with pytest.raises(ImageMissing):
        opened(tmp_path, "upload:sha256-" + "0" * 64)


def test_several_digests_are_the_files_of_one_series_each_of_them_checked(tmp_path: Path) -> None:
    references = [uploads.keep(tmp_path, [data], max_bytes=100) for data in (b"one", b"two")]
    together = uploads.joined(references)
    assert [path.read_bytes() for path in opened(tmp_path, together).paths] == [b"one", b"two"]
    uploads.path_of(tmp_path, references[1]).write_bytes(b"TWO")
    with pytest.raises(ImageUnreadable):
        opened(tmp_path, together)
    with pytest.raises(ImageMissing):
        opened(tmp_path, f"{together},sha256-{'0' * 64}")


def test_a_large_file_is_hashed_once_and_again_when_it_is_another_file(tmp_path: Path) -> None:
    verified = Verified()
    reference = uploads.keep(tmp_path, [b"pixels"], max_bytes=100)
    (path,) = opened(tmp_path, reference, small=5, verified=verified).paths
    os.utime(path)
    with path.open("r+b") as file:
        file.write(b"others")
    opened(tmp_path, reference, small=5, verified=verified)
    with pytest.raises(ImageUnreadable):
        opened(tmp_path, reference, small=6, verified=verified)
    path.with_name("new").write_bytes(b"other")
    path.with_name("new").replace(path)
    with pytest.raises(ImageUnreadable):
        opened(tmp_path, reference, small=4, verified=verified)


def test_the_files_of_a_series_are_measured_together(tmp_path: Path) -> None:
    references = [uploads.keep(tmp_path, [data * 600], max_bytes=1000) for data in (b"1", b"2")]
    opened(tmp_path, references[0])
    with pytest.raises(ImageTooLarge):
        opened(tmp_path, uploads.joined(references))


@pytest.mark.parametrize(
    "reference",
    [
        "upload:sha256-../../etc/passwd",
        "upload:" + "0" * 64,
        f"upload:sha256-{'0' * 64},",
        f"upload:sha256-{'0' * 64},{'0' * 64}",
        f"upload:sha256-{'0' * 64}\n",
        "upload:" + ",".join(["sha256-" + "0" * 64] * 101),
    ],
)
def test_what_is_no_digest_is_forbidden(tmp_path: Path, reference: str) -> None:
    with pytest.raises(ReferenceForbidden):
        opened(tmp_path, reference)
