"""A whole slide goes in, an answer comes out: whatever it is stored as, wherever it lies, asserted by meaning."""

from __future__ import annotations

import io
import json
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.acceptance.conftest import OPTIONS, QUESTION, started_in
from tests.integration.dicom.orthanc import HTTP, running
from tests.ome import ome_tiff
from tests.slides import Recipe, aperio_tiff, dicom_series

pytest.importorskip("skimage.data")

DAB = "Immunohistochemistry with DAB"
SIZE = {"width": 2304, "height": 1792, "tile": 256}
#: tiles of the glass between the two pieces
MISSING = frozenset({(0, 8), (6, 0)})
STORED = {
    "jpeg-full": Recipe(**SIZE, labels=True),
    "jpeg-2000-full": Recipe(**SIZE, syntax="j2k"),
    "rle-sparse": Recipe(**SIZE, syntax="rle", organisation="TILED_SPARSE", missing=MISSING),
    "jpeg-full-concatenated": Recipe(**SIZE, parts=3),
    "jpeg-2000-sparse-concatenated": Recipe(**SIZE, syntax="j2k", organisation="TILED_SPARSE", parts=2),
}


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> Path:
    """A folder with a folder for each series."""
    return tmp_path_factory.mktemp("slides")


@pytest.fixture(scope="module")
def series(slides):
    """The folder of a series, which is made when it is first asked for."""

    def made(name: str, recipe: Recipe) -> Path:
        folder = slides / name
        if not folder.exists():
            dicom_series(folder, recipe)
        return folder

    return made


@contextmanager
def relayed(connect):
    """Connections to the port that this gives end where `connect` leads."""
    listening = socket.create_server(("127.0.0.1", 0))
    with ExitStack() as stack:

        def pump(one: socket.socket, other: socket.socket) -> None:
            with suppress(OSError):
                while data := one.recv(1 << 16):
                    other.sendall(data)
            with suppress(OSError):
                other.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    near, far = stack.enter_context(listening.accept()[0]), stack.enter_context(connect())
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with running(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def viewer(slides, tmp_path_factory):
    """A stack that may open the slides where they lie."""
    with started_in(tmp_path_factory.mktemp("viewer")) as start:
        yield start(IMAGE_ROOTS=str(slides), UPLOADS_RESERVE_BYTES="0")


def read(up, reference, *arguments: str) -> dict:
    job = up.submit(reference, "--wait", *arguments)
    assert job["status"] == "succeeded", job["error"]
    return job["reading"]


def is_right(reading: dict) -> bool:
    return (reading["outcome"], reading["answer"]) == ("answered", f"B. {DAB}")


def parts(reading: dict, name: str) -> list[dict]:
    return [patch for patch in reading["provenance"]["patches"] if patch["part"] == name]


def kept(up, job_id: str) -> list[Image.Image]:
    """The pictures that the API serves, in the order of the patches."""
    with up.http as client:
        document = client.get(f"/v1/jobs/{job_id}/reading").raise_for_status().json()
        answers = [client.get(picture["url"]).raise_for_status() for picture in document["pictures"]]
    assert {answer.headers["content-type"] for answer in answers} == {"image/png"}
    return [Image.open(io.BytesIO(answer.content)) for answer in answers]


@pytest.mark.parametrize("name", STORED)
def test_the_stain_of_a_dicom_slide_is_named_however_it_is_stored(viewer, series, name):
    folder = series(name, STORED[name])
    in_place, uploaded = read(viewer, folder.as_uri()), read(viewer, folder)
    assert is_right(in_place)
    assert is_right(uploaded)
    seen, again = (
        [patch["pixels_digest"] for patch in reading["provenance"]["patches"]]
        for reading in (in_place, uploaded)
    )
    assert seen == again, "the same slide, the same pictures"


def test_the_reading_says_what_was_seen_of_the_slide_and_the_pictures_are_kept(viewer, series):
    folder = series("jpeg-full", STORED["jpeg-full"])
    job = viewer.submit(folder, "--wait", "--magnification", "20", "--windows", "3")
    reading = job["reading"]
    assert is_right(reading)
    (overview,), windows = parts(reading, "overview"), parts(reading, "window")
    width, height = SIZE["width"], SIZE["height"]
    assert overview["region"] == [0, 0, width, height]
    assert overview["spacing"] == pytest.approx(0.5 * width / overview["width"])
    assert 1 <= len(windows) <= 3
    for window in windows:
        x, y, across, down = window["region"]
        assert (across, down) == (window["width"], window["height"]) == (1024, 1024)
        assert 0 <= x <= width - across
        assert 0 <= y <= height - down
        assert window["spacing"] == pytest.approx(0.5)
    for patch in (overview, *windows):
        assert patch["slide_size"] == [width, height]
        assert 0.3 < patch["tissue_covered"] <= 1
        assert patch["mask_digest"] == overview["mask_digest"]
        assert patch["mask_digest"].startswith("sha256:")
    pictures = kept(viewer, job["id"])
    assert [picture.size for picture in pictures] == [
        (patch["width"], patch["height"]) for patch in reading["provenance"]["patches"]
    ]


def test_what_the_model_was_shown_is_what_openslide_reads_of_the_same_files(viewer, series):
    openslide = pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    folder = series("jpeg-full", STORED["jpeg-full"])
    job = viewer.submit(folder, "--wait", "--region", "512,384,768,640")
    (picture,) = kept(viewer, job["id"])
    with openslide.OpenSlide(folder / "level0.dcm") as slide:
        theirs = slide.read_region((512, 384), 0, (768, 640)).convert("RGB")
    assert is_right(job["reading"])
    assert np.abs(np.asarray(picture, int) - np.asarray(theirs, int)).mean() < 1.5


def test_a_scanners_file_is_read_through_openslide(viewer, slides):
    pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    file = slides / "scanned.svs"
    aperio_tiff(file, **SIZE)
    for image in (file, file.as_uri()):
        reading = read(viewer, image)
        assert is_right(reading)
        assert all(patch["format"].lower().startswith("aperio") for patch in reading["provenance"]["patches"])
        assert reading["provenance"]["patches"][0]["slide_size"] == [SIZE["width"], SIZE["height"]]


def test_an_ome_tiff_is_read_from_the_levels_that_lie_below_its_first_directory(viewer, slides):
    file = slides / "converted.ome.tif"
    size = {"width": SIZE["width"], "height": SIZE["height"]}
    ome_tiff(file, "jpeg", tile=SIZE["tile"], levels=4, **size)
    for image in (file, file.as_uri()):
        reading = read(viewer, image)
        assert is_right(reading)
        assert {patch["format"] for patch in reading["provenance"]["patches"]} == {"OME-TIFF"}
        assert reading["provenance"]["patches"][0]["slide_size"] == [SIZE["width"], SIZE["height"]]


def test_a_region_in_millimetres_is_what_the_model_sees_and_a_magnification_its_size(viewer, series):
    folder = series("jpeg-full", STORED["jpeg-full"]).as_uri()
    in_mm = read(viewer, folder, "--region", "0.3,0.2,0.2,0.25mm")
    at_10 = read(viewer, folder, "--region", "600,400,400,500", "--magnification", "10")
    for reading, size, spacing in ((in_mm, (400, 500), 0.5), (at_10, (200, 250), 1.0)):
        (patch,) = parts(reading, "region")
        assert is_right(reading)
        assert patch["region"] == [600, 400, 400, 500]
        assert (patch["width"], patch["height"]) == size
        assert patch["spacing"] == pytest.approx(spacing)
    glass = read(viewer, folder, "--region", "1.0,0,0.15,0.15mm")
    assert glass["answer"] == "C. No tissue"


def test_blank_glass_is_an_outcome_and_no_model_is_asked(viewer, series):
    reading = read(viewer, series("blank", Recipe(**SIZE, blank=True)))
    assert (reading["outcome"], reading["answer"], reading["choice"]) == ("no_tissue_found", "", None)
    assert reading["timings"]["engine"] == 0
    assert (reading["prompt_tokens"], reading["completion_tokens"]) == (0, 0)
    assert [patch["part"] for patch in reading["provenance"]["patches"]] == ["overview"]
    assert reading["provenance"]["patches"][0]["tissue_covered"] == 0


def test_a_label_alone_and_a_folder_without_dicom_are_no_slide(viewer, series, tmp_path):
    label = series("jpeg-full", STORED["jpeg-full"]) / "label.dcm"
    told = viewer.run("submit", label.as_uri(), *QUESTION, *OPTIONS, "--wait", "--json", status=1)
    assert json.loads(told)["error"]["code"] == "image_refused"
    empty = tmp_path / "empty"
    empty.mkdir()
    viewer.run("submit", str(empty), *QUESTION, status=2)


def test_a_slide_in_orthancs_dicomweb_archive_is_read_where_it_lies(orthanc, series, tmp_path):
    import pydicom

    folder = series("jpeg-full", STORED["jpeg-full"])
    for file in folder.glob("*.dcm"):
        orthanc.post("/instances", file.read_bytes())
    header = pydicom.dcmread(folder / "level0.dcm", stop_before_pixels=True)
    study = f"dicomweb:main/studies/{header.StudyInstanceUID}"

    def connected():
        return orthanc.inside(lambda: socket.create_connection(("127.0.0.1", HTTP)))

    with relayed(connected) as port, started_in(tmp_path) as start:
        archive = {"name": "main", "url": f"http://127.0.0.1:{port}/dicom-web", "plain_http": True}
        file = tmp_path / "archives.yaml"
        file.write_text(yaml.safe_dump({"archives": [archive | {"hosts": ["127.0.0.1"]}]}))
        up = start(ARCHIVES=str(file))
        for reference in (study, f"{study}/series/{header.SeriesInstanceUID}"):
            reading = read(up, reference)
            assert is_right(reading)
            assert parts(reading, "window")
