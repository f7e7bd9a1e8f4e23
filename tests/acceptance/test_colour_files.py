"""Colour files of others go in: what the model is shown is the picture, and the answer is right, in every syntax."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file

from tests.integration.imaging.test_given_files import DATA, needs_data, read
from tests.unit.imaging.dicom_files import encoded, native

wsidicom_data = pytest.importorskip("wsidicom_data", reason="the package wsidicom-data is not installed")
FOLDER = Path(wsidicom_data.__file__).parent / "data"
HE = "A. Hematoxylin and eosin"

J2K, LOSSLESS_J2K = "JPEG_2000_Image_Compression", "JPEG_2000_Image_Compression_(Lossless_Only)"
JLS, NEAR_JLS = "JPEG-LS_Lossless_Image_Compression", "JPEG-LS_Lossy_(Near-Lossless)_Image_Compression"
#: an H&E tile as a stream, its transfer syntax and what it is said to be
ENCODED = [
    ("RLE_Lossless-RGB-8.rle", uid.RLELossless, "RGB"),
    ("JPEG_Baseline_(Process_1)-RGB-8.jpg", uid.JPEGBaseline8Bit, "RGB"),
    ("JPEG_Baseline_(Process_1)-YBR-8.jpg", uid.JPEGBaseline8Bit, "YBR_FULL_422"),
    ("JPEG_Baseline_(Process_1)-RGB-8.jpg", uid.JPEGExtended12Bit, "RGB"),
    (f"{JLS}-RGB-8.jls", uid.JPEGLSLossless, "RGB"),
    (f"{NEAR_JLS}-RGB-8.jls", uid.JPEGLSNearLossless, "RGB"),
    (f"{J2K}-RGB-8.jp2", uid.JPEG2000, "RGB"),
    (f"{J2K}-YBR-8.jp2", uid.JPEG2000, "YBR_ICT"),
    (f"{LOSSLESS_J2K}-RGB-8.jp2", uid.JPEG2000Lossless, "RGB"),
    (f"{LOSSLESS_J2K}-YBR-8.jp2", uid.JPEG2000Lossless, "YBR_RCT"),
]

#: pydicom's own, every one in colour
SHOWN = (
    "examples_jpeg2k", "examples_palette", "examples_rgb_color", "examples_ybr_color", "ExplVR_BigEnd",
    "GDCMJ2K_TextGBR", "SC_jpeg_no_color_transform", "SC_jpeg_no_color_transform_2",
    "SC_rgb_dcmtk_+eb+cr", "SC_rgb_dcmtk_+eb+cy+n1", "SC_rgb_dcmtk_+eb+cy+n2",
    "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_dcmtk_+eb+cy+s2", "SC_rgb_dcmtk_+eb+cy+s4", "SC_rgb_gdcm_KY",
    "SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample", "SC_rgb_jpeg", "SC_rgb_jpeg_app14_dcmd",
    "SC_rgb_jpeg_dcmd", "SC_rgb_jpeg_dcmtk", "SC_rgb_jpeg_lossy_gdcm", "SC_rgb_rle",
    "SC_rgb_rle_16bit", "SC_rgb_rle_2frame", "SC_rgb_rle_16bit_2frame", "SC_rgb_small_odd",
    "SC_rgb_small_odd_big_endian", "SC_rgb_small_odd_jpeg", "SC_ybr_full_422_uncompressed",
)  # fmt: skip
REFUSED = {
    "SC_rgb_jpeg_gdcm": ("unsupported_transfer_syntax", "1.2.840.10008.1.2.4.70"),
    "SC_rgb_rle_32bit": ("unsupported_image", ""),
    "SC_rgb_rle_32bit_2frame": ("unsupported_image", ""),
}


def submitted(up, files: list[Path], *arguments: str) -> list[dict]:
    """All are accepted before the first is waited for; the jobs in their order."""
    ids = [up.submit(file, *arguments)["id"] for file in files]
    up.until(lambda: all(up.show(job)["status"] in ("succeeded", "failed") for job in ids))
    return [up.show(job) for job in ids]


def answers(jobs: list[dict]) -> list[str]:
    return [job["reading"]["answer"] if job["reading"] else job["error"] for job in jobs]


def saved(folder: Path, files: list[bytes]) -> list[Path]:
    paths = [folder / f"{number}.dcm" for number in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file)
    return paths


def bundled(name: str) -> Path:
    path = get_testdata_file(f"{name}.dcm", download=False)
    if path is None:
        pytest.skip(f"this pydicom has no {name}")
    return Path(path)


def shown(up, job: dict) -> np.ndarray:
    """The one picture that the model saw, as the API serves it."""
    with up.http as client:
        (picture,) = client.get(f"/v1/jobs/{job['id']}/reading").raise_for_status().json()["pictures"]
        return np.asarray(Image.open(io.BytesIO(client.get(picture["url"]).raise_for_status().content)))


def test_the_stain_of_a_tile_is_named_in_every_transfer_syntax(up, tmp_path):
    tile = np.asarray(Image.open(FOLDER / "test_tile.png").convert("RGB"))
    files = [
        encoded([(FOLDER / "encoded" / name).read_bytes()], tile, photometric, syntax)
        for name, syntax, photometric in ENCODED
    ]
    planes = np.ascontiguousarray(np.moveaxis(tile, -1, 0))
    files += [native(tile, "RGB", big_endian=big_endian) for big_endian in (False, True)]
    files.append(native(planes, "RGB", Rows=240, Columns=240, SamplesPerPixel=3, PlanarConfiguration=1))
    jobs = submitted(up, saved(tmp_path, files))
    assert answers(jobs) == [HE] * len(files)


def test_the_colour_files_of_pydicom_are_shown_to_the_model_as_they_are(up):
    files = [bundled(name) for name in SHOWN]
    jobs = submitted(up, files)
    for job, file in zip(jobs, files, strict=True):
        assert job["status"] == "succeeded", (file.stem, job["error"])
        assert np.array_equal(shown(up, job), np.asarray(read(file).pixels)), file.stem
    lossless = dict(zip(SHOWN, jobs, strict=True))["examples_rgb_color"]
    assert np.array_equal(shown(up, lossless), pydicom.dcmread(bundled("examples_rgb_color")).pixel_array)


def test_colour_that_is_not_supported_is_refused_by_its_name(up):
    jobs = submitted(up, [bundled(name) for name in REFUSED])
    for job, (kind, text) in zip(jobs, REFUSED.values(), strict=True):
        assert (job["status"], job["error"]["code"]) == ("failed", kind)
        assert text in job["error"]["text"]


@needs_data
def test_the_stain_of_a_scanned_level_is_named_whole_and_frame_by_frame(up):
    file = DATA / "dicom" / "ezwsi_camelyon_multiframe.dcm"
    whole = submitted(up, [file])
    frames = [submitted(up, [file], "--frame", frame) for frame in ("2", "8")]
    assert answers([*whole, *(job for jobs in frames for job in jobs)]) == [HE] * 3
