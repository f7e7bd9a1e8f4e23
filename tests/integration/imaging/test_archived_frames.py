"""One frame of an instance behind DICOMweb is the frame of the file that the archive keeps, decoded in a child."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slides import CODECS, FiledSeries, Recipe, dicom_series
from worker.errors import ImageMissing, ImageRefused, RegionOutside, UnsupportedImage
from worker.imaging.sandbox import Sandbox
from worker.imaging.supply import Archived, OnDisk
from worker.imaging.wanted import Limits, Wanted

LIMITS = Limits(max_pixels=10_000_000, max_bytes=100_000_000)


def wanted(frame: int | None) -> Wanted:
    return Wanted(number=0, limits=LIMITS, frame=frame)


@pytest.mark.parametrize("syntax", CODECS)
def test_a_frame_of_an_archive_is_the_one_of_its_file(syntax: str, tmp_path: Path, sandbox: Sandbox) -> None:
    path = dicom_series(tmp_path, Recipe(syntax=syntax)).paths[0]
    series = FiledSeries([path])
    [uid] = [instance["00080018"]["Value"][0] for instance in series.instances()]
    (filed,) = sandbox.look(OnDisk(paths=(path,)), wanted(3))
    (archived,) = sandbox.look(Archived(series=series, sop_instance_uid=uid), wanted(3))
    assert archived.rgb == filed.rgb
    assert len(set(archived.rgb)) > 50, "a frame with something on it"
    for field in ("format", "frame", "width", "height", "steps"):
        assert getattr(archived.record, field) == getattr(filed.record, field)
    assert series.asked == [(uid, (3,))], "no other frame was fetched"


def test_what_is_not_in_the_archive_or_shows_a_label_is_refused(tmp_path: Path, sandbox: Sandbox) -> None:
    made = dicom_series(tmp_path, Recipe(labels=True))
    series = FiledSeries(made.paths)
    kinds = {
        instance["00080008"]["Value"][2]: instance["00080018"]["Value"][0] for instance in series.instances()
    }
    for uid, frame, refusal in (
        (kinds["VOLUME"], 100_000, RegionOutside),
        ("1.2.3", 1, ImageMissing),
        (None, 1, UnsupportedImage),
        (kinds["LABEL"], 1, ImageRefused),
    ):
        with pytest.raises(refusal):
            sandbox.look(Archived(series=series, sop_instance_uid=uid), wanted(frame))
