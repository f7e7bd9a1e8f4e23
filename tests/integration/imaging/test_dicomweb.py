"""Our DICOMweb client against a server that is not ours: who gets in, what breaks off, what is too much."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from starlette.responses import JSONResponse, Response

from tests.integration.imaging.archive_server import JPEG, SERIES, SOP, STUDY, ArchiveServer, value
from worker.errors import (
    FetchFailed,
    ImageMissing,
    ImageRefused,
    ImageTooLarge,
    PathlaneError,
    ReferenceForbidden,
    RegionOutside,
    UnsupportedImage,
)
from worker.imaging.archives import read_archives
from worker.imaging.fetch import places_of, supply_of
from worker.imaging.series import Series, find_series
from worker.imaging.supply import Archived
from worker.jobs.archived import ArchivedImages
from worker.settings import ImagingSettings

WHOLE = ArchivedImages(archive="main", study=STUDY, series=SERIES)


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer().running() as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def opened(server: ArchiveServer, tmp_path: Path, waits: list[float]) -> Callable[..., Series]:
    def open_series(named: ArchivedImages = WHOLE, **settings: object) -> Series:
        archive = {"name": "main", "url": server.url, "plain_http": True, "hosts": ["127.0.0.1"]} | settings
        file = tmp_path / "archives.yaml"
        file.write_text(yaml.safe_dump({"archives": [archive]}))
        return Series(read_archives(file)["main"], named, sleep=waits.append)

    return open_series


def test_frames_come_in_batches_as_they_are_stored(server, opened) -> None:
    series = opened(batch=8)
    assert series.frames(SOP, [3, 1, 3, *range(4, 20)]) == [
        server.frames[number - 1] for number in (3, 1, 3, *range(4, 20))
    ]
    assert series.transfer_syntax(SOP) == JPEG
    of_frames = [(path, headers) for path, headers in server.asked if "/frames/" in path]
    assert [path.rpartition("/")[2] for path, _ in of_frames] == [
        "3,1,4,5,6,7,8,9", "10,11,12,13,14,15,16,17", "18,19",
    ]  # fmt: skip
    accepted = {headers["accept"] for _, headers in of_frames}
    assert accepted == {'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


def test_metadata_has_no_patient_and_its_colour_profile_is_in_it(server, opened) -> None:
    (instance,) = opened().instances()
    assert "CANARY" not in json.dumps(instance)
    assert instance["00080018"]["Value"] == [SOP]
    (path,) = instance["00480105"]["Value"]
    assert base64.b64decode(path["00282000"]["InlineBinary"]) == b"profile"


@pytest.mark.parametrize("link", ["https://elsewhere.example/icc", "/other/icc", "../../../../../other"])
def test_a_link_that_leads_out_of_the_archive_is_not_followed(server, opened, link) -> None:
    server.metadata[0]["00480105"]["Value"][0]["00282000"]["BulkDataURI"] = link
    with pytest.raises(ReferenceForbidden):
        opened().instances()
    assert server.paths == [f"/studies/{STUDY}/series/{SERIES}/metadata"]


def test_the_syntax_is_known_before_any_frame_was_wanted_and_that_frame_is_not_fetched_twice(
    server, opened
) -> None:
    series = opened()
    assert series.transfer_syntax(SOP) == JPEG
    assert series.frames(SOP, [1, 2]) == server.frames[:2]
    assert [path.rpartition("/")[2] for path in server.paths if "/frames/" in path] == ["1", "2"]


def test_what_breaks_off_is_gone_on_with_where_it_broke(server, opened, waits) -> None:
    series = opened(batch=30)
    series.instances()
    server.breaks = [5, 0, 2]
    assert series.frames(SOP, range(1, 31)) == server.frames
    asked = [path.rpartition("/")[2].split(",") for path in server.paths if "/frames/" in path]
    assert [(numbers[0], len(numbers)) for numbers in asked] == [("1", 30), ("6", 25), ("6", 25), ("8", 23)]
    assert waits == [0.5, 1.0, 0.5]


def test_what_breaks_off_at_the_same_place_again_and_again_is_left_for_later(server, opened, waits) -> None:
    series = opened()
    series.instances()
    server.breaks = [2] + [0] * 10
    with pytest.raises(FetchFailed):
        series.frames(SOP, range(1, 10))
    assert waits == [0.5, 1.0, 2.0]


def test_a_busy_archive_is_asked_again_when_it_says(server, opened, waits) -> None:
    series = opened()
    series.instances()
    server.answers = [Response(status_code=429, headers={"retry-after": "7"}), Response(status_code=503)]
    assert series.frames(SOP, [1]) == server.frames[:1]
    assert waits == [7.0, 1.0]
    server.answers = [Response(status_code=503, headers={"retry-after": "600"})]
    with pytest.raises(FetchFailed) as failure:
        series.frames(SOP, [2])
    assert failure.value.retryable
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ReferenceForbidden),
        (403, ReferenceForbidden),
        (302, ReferenceForbidden),
        (308, ReferenceForbidden),
        (404, ImageMissing),
        (410, ImageMissing),
        (204, ImageMissing),
        (406, UnsupportedImage),
        (400, UnsupportedImage),
    ],
)
def test_what_asking_again_does_not_change_is_not_asked_again(server, opened, waits, status, error) -> None:
    series = opened()
    series.instances()
    before = len(server.asked)
    server.answers = [Response(status_code=status, headers={"location": f"{server.url}/elsewhere"})]
    with pytest.raises(error):
        series.frames(SOP, [1])
    assert (len(server.asked), waits) == (before + 1, [])


def test_an_archive_that_is_not_there_is_for_later(server, opened) -> None:
    with pytest.raises(FetchFailed):
        opened(url="http://127.0.0.1:9/dicom-web").instances()


def test_an_address_that_is_not_allowed_is_not_contacted(server, opened) -> None:
    for settings in ({"hosts": ["localhost"]}, {"hosts": ["127.0.0.2", "10.0.0.0/8"]}):
        with pytest.raises(ReferenceForbidden):
            opened(**settings).instances()
    assert server.asked == []


def test_more_bytes_or_frames_than_allowed_are_not_fetched(server, opened) -> None:
    series = opened(max_frames=5)
    series.frames(SOP, [1, 2, 3])
    with pytest.raises(ImageTooLarge):
        series.frames(SOP, [4, 5, 6])
    small = opened(max_bytes=4096)
    with pytest.raises(ImageTooLarge):
        small.frames(SOP, range(1, 31))


@pytest.mark.parametrize(
    "answer",
    [
        Response(b"x", media_type="image/jpeg"),
        Response(b"x", media_type="multipart/related"),
        Response(b"", media_type="multipart/mixed; boundary=b"),
    ],
)
def test_frames_that_are_not_multipart_are_refused(server, opened, answer) -> None:
    series = opened()
    series.instances()
    server.answers = [answer]
    with pytest.raises(UnsupportedImage):
        series.frames(SOP, [1])


@pytest.mark.parametrize("stored", [True, False])
def test_frames_that_were_transcoded_are_refused(server, opened, stored) -> None:
    series = opened()
    if not stored:
        del server.metadata[0]["00083002"]
        series.frames(SOP, [2])
    server.part_type = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70"
    with pytest.raises(UnsupportedImage, match="transcodes"):
        series.frames(SOP, [1])


def test_a_syntax_that_the_parts_do_not_say_is_taken_from_elsewhere_or_refused(server, opened) -> None:
    server.part_type = "application/octet-stream"
    assert opened().transfer_syntax(SOP) == JPEG
    del server.metadata[0]["00083002"]
    with pytest.raises(UnsupportedImage, match="does not say"):
        opened().transfer_syntax(SOP)
    numbers = {"00280010": 2, "00280011": 5, "00280002": 3, "00280100": 8}
    server.metadata[0] |= {key: value("US", number) for key, number in numbers.items()}
    server.frames[0] = bytes(30)
    assert opened().transfer_syntax(SOP) == "1.2.840.10008.1.2.1"


def test_only_instances_and_frames_that_the_archive_told_of_are_asked_for(server, opened) -> None:
    series = opened()
    for uid in ("1.2.6", "../../x", f"{SOP}/../x"):
        with pytest.raises(ImageMissing):
            series.frames(uid, [1])
    for number in (0, 31):
        with pytest.raises(RegionOutside):
            series.frames(SOP, [number])
    assert [path for path in server.paths if "/frames/" in path] == []


@pytest.mark.parametrize(
    "answer", [Response(b"{"), JSONResponse({"a": 1}), JSONResponse([1]), Response(b"[" * 10_000)]
)
def test_metadata_that_is_none_is_for_later(server, opened, answer) -> None:
    server.answers = [answer]
    with pytest.raises(FetchFailed):
        opened().instances()


def test_of_a_study_its_one_slide_series_is_meant(server, opened) -> None:
    access = opened()._access
    assert find_series(access, STUDY) == SERIES
    assert server.paths == [f"/studies/{STUDY}/series"]
    server.series.append({"0020000E": value("UI", "1.2.9"), "00080060": value("CS", "CT")})
    assert find_series(access, STUDY) == SERIES
    server.series.append({"0020000E": value("UI", "1.2.8"), "00080060": value("CS", "SM")})
    with pytest.raises(ImageRefused, match="2 slide series"):
        find_series(access, STUDY)
    server.series = []
    with pytest.raises(ImageMissing):
        find_series(access, STUDY)


def test_one_instance_of_a_series_is_asked_for_alone(server, opened) -> None:
    opened(replace(WHOLE, instance=SOP)).instances()
    assert server.paths[0] == f"/studies/{STUDY}/series/{SERIES}/instances/{SOP}/metadata"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Signed by itself, for localhost."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
    ]  # fmt: skip
    subprocess.run(make, check=True, capture_output=True)
    return certificate, key


def test_over_mutual_tls_with_a_token_the_archive_opens_and_without_our_certificate_it_does_not(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    (tmp_path / "token").write_text("secret")
    ours = {"certificate": "certificate.pem", "key": "key.pem"}
    for shown, known in ((True, True), (False, True), (True, False)):
        with ArchiveServer().running(certificate) as server:
            archive = {
                "name": "main",
                "url": server.url,
                "hosts": ["127.0.0.0/8", "::1"],
                "token_file": "token",
            }
            archive |= {"authorities": "certificate.pem"} if known else {}
            archive |= ours if shown else {}
            (tmp_path / "archives.yaml").write_text(yaml.safe_dump({"archives": [archive]}))
            places = places_of(ImagingSettings(archives=tmp_path / "archives.yaml"))
            supply = supply_of(WHOLE.reference, places=places)
            assert isinstance(supply, Archived)
            series = Series(places.archives["main"], WHOLE, sleep=lambda _: None)
            if shown and known:
                assert series.frames(SOP, [1]) == server.frames[:1]
                assert {headers["authorization"] for _, headers in server.asked} == {"Bearer secret"}
            else:
                with pytest.raises(FetchFailed):
                    series.instances()
                assert server.asked == []


def test_the_door_knows_archives_by_name_alone(server, tmp_path: Path) -> None:
    archive = {"name": "main", "url": server.url, "plain_http": True, "hosts": ["127.0.0.1"]}
    (tmp_path / "archives.yaml").write_text(yaml.safe_dump({"archives": [archive]}))
    places = places_of(ImagingSettings(archives=tmp_path / "archives.yaml"))
    found = supply_of(f"dicomweb:main/studies/{STUDY}", places=places)
    assert isinstance(found, Archived)
    assert found.series.frames(SOP, [2]) == [server.frames[1]]
    one = supply_of(f"{WHOLE.reference}/instances/{SOP}/frames/2", places=places)
    assert isinstance(one, Archived)
    assert one.sop_instance_uid == SOP
    for reference in (f"dicomweb:other/studies/{STUDY}", f"dicomweb:{server.url}/studies/{STUDY}"):
        with pytest.raises(ReferenceForbidden) as refusal:
            supply_of(reference, places=places)
        assert isinstance(refusal.value, PathlaneError)
        assert STUDY not in refusal.value.public
