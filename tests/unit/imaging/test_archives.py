from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from worker.errors import FetchFailed
from worker.imaging.archives import read_archives
from worker.settings import SettingsError

MAIN = {"name": "main", "url": "https://pacs.example.org/dicom-web/"}


def read(folder: Path, *archives: object):
    file = folder / "archives.yaml"
    file.write_text(yaml.safe_dump({"archives": list(archives)}))
    return read_archives(file)


def test_archives_are_known_by_name_with_the_limits_that_stand_or_are_set(tmp_path: Path) -> None:
    found = read(tmp_path, MAIN, MAIN | {"name": "other", "batch": 3, "max_frames": 10, "max_bytes": 2048})
    assert found["main"].url == "https://pacs.example.org/dicom-web"
    assert (found["main"].batch, found["main"].headers()) == (16, {})
    assert (found["other"].batch, found["other"].max_frames, found["other"].max_bytes) == (3, 10, 2048)


def test_the_token_is_read_each_time_from_beside_the_file(tmp_path: Path) -> None:
    access = read(tmp_path, MAIN | {"token_file": "token"})["main"]
    with pytest.raises(FetchFailed) as failure:
        access.headers()
    assert str(tmp_path) not in failure.value.public
    for token in ("first", "second"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert access.headers() == {"authorization": f"Bearer {token}"}
    for bad in ("", "a\nb", "ä"):
        (tmp_path / "token").write_text(bad)
        with pytest.raises(FetchFailed):
            access.headers()
    assert "second" not in repr(access)


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (MAIN | {"url": "http://pacs.example.org"}, "plain_http"),
        (MAIN | {"url": "https://user:secret@pacs.example.org"}, "archives.0.url"),
        (MAIN | {"name": "a/b"}, "archives.0.name"),
        (MAIN | {"secretkey": "x"}, "archives.0: Extra"),
        (MAIN | {"hosts": ["a b"]}, "hosts"),
        (MAIN | {"key": "secretkey.pem"}, "certificate"),
        (MAIN | {"certificate": "secretkey.pem"}, "certificate"),
        (MAIN | {"authorities": "secretkey.pem"}, "authorities"),
        ("secretkey", "archives.0"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_place_and_without_its_values(
    tmp_path: Path, archive: object, said: str
) -> None:
    with pytest.raises(SettingsError, match="PATHLANE_ARCHIVES") as problem:
        read(tmp_path, archive)
    assert said in str(problem.value)
    assert "secret" not in str(problem.value)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="two archives"):
        read(tmp_path, MAIN, MAIN)


@pytest.mark.parametrize("text", ["archives: [", "", "\x00", "- a"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "archives.yaml").write_text(text)
    with pytest.raises(SettingsError):
        read_archives(tmp_path / "archives.yaml")
    with pytest.raises(SettingsError):
        read_archives(tmp_path / "missing.yaml")
