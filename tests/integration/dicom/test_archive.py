"""Slides in Orthanc's DICOMweb, through our own archive client: what comes is what was stored."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, generate_uid

from tests.integration.dicom.orthanc import HTTP, running
from worker.errors import ImageMissing, ImageRefused
from worker.imaging.fetch import places_of, supply_of
from worker.jobs.archived import ArchivedImages
from worker.settings import ImagingSettings

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
TILE = 64
PROFILE = b"a profile that is none" * 10


def tiles(syntax: UID, count: int) -> list[bytes]:
    """Encoded pictures, all different."""
    found = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (TILE, TILE, 3), np.uint8)
        file = io.BytesIO()
        kind = (
            {"format": "JPEG", "quality": 85}
            if syntax == JPEGBaseline8Bit
            else {"format": "JPEG2000", "no_jp2": True}
        )
        Image.fromarray(pixels).save(file, **kind)
        found.append(file.getvalue())
    return found


def a_level(study: str, series: str, side: int, frames: list[bytes], syntax: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SLIDE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    level = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    level.SOPClassUID, level.SOPInstanceUID = SLIDE, meta.MediaStorageSOPInstanceUID
    level.StudyInstanceUID, level.SeriesInstanceUID, level.Modality = study, series, "SM"
    level.PatientName, level.PatientID, level.AccessionNumber = "CANARY^PATIENT", "CANARY-1", "S26-0001"
    level.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    level.Rows = level.Columns = TILE
    level.TotalPixelMatrixRows = level.TotalPixelMatrixColumns = side
    level.NumberOfFrames, level.SamplesPerPixel = len(frames), 3
    level.PhotometricInterpretation = "YBR_FULL_422" if syntax == JPEGBaseline8Bit else "YBR_RCT"
    level.PlanarConfiguration, level.PixelRepresentation = 0, 0
    level.BitsAllocated = level.BitsStored = 8
    level.HighBit = 7
    level.DimensionOrganizationType = "TILED_FULL"
    path = Dataset()
    path.OpticalPathIdentifier, path.ICCProfile = "1", PROFILE
    level.OpticalPathSequence = [path]
    level.PixelData = encapsulate(frames)
    level["PixelData"].is_undefined_length = True
    return level


def stored(orthanc, level: FileDataset) -> str:
    file = io.BytesIO()
    level.save_as(file, enforce_file_format=True)
    orthanc.post("/instances", file.getvalue())
    return str(level.SOPInstanceUID)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with running(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture
def places(tmp_path):
    archive = {
        "name": "main", "url": f"http://127.0.0.1:{HTTP}/dicom-web", "plain_http": True, "hosts": ["127.0.0.1"],
        "batch": 5,
    }  # fmt: skip
    (tmp_path / "archives.yaml").write_text(yaml.safe_dump({"archives": [archive]}))
    return places_of(ImagingSettings(archives=tmp_path / "archives.yaml"))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_the_frames_of_a_slide_are_the_bytes_that_were_stored(orthanc, places, syntax):
    study, series = generate_uid(), generate_uid()
    large, small = tiles(syntax, 16), tiles(syntax, 4)
    sops = {
        stored(orthanc, a_level(study, series, 4 * TILE, large, syntax)): large,
        stored(orthanc, a_level(study, series, 2 * TILE, small, syntax)): small,
    }

    def read():
        archive = supply_of(f"dicomweb:main/studies/{study}", places=places).series
        metadata = {each["00080018"]["Value"][0]: each for each in archive.instances()}
        return metadata, {
            uid: (archive.transfer_syntax(uid), archive.frames(uid, range(1, len(frames) + 1)))
            for uid, frames in sops.items()
        }

    metadata, found = orthanc.inside(read)
    assert set(metadata) == set(sops)
    assert {uid: syntax for uid, (syntax, _) in found.items()} == dict.fromkeys(sops, syntax)
    for uid, frames in sops.items():
        assert found[uid][1] == [frame + b"\0" * (len(frame) % 2) for frame in frames]  # PS3.5 A.4: even
    assert "CANARY" not in str(metadata)
    (path,) = metadata[next(iter(sops))]["00480105"]["Value"]
    assert set(path["00282000"]) == {"vr", "InlineBinary"}


def test_one_instance_and_a_study_of_two_slides(orthanc, places):
    study, first, second = (generate_uid() for _ in range(3))
    frames = tiles(JPEGBaseline8Bit, 1)
    sops = [
        stored(orthanc, a_level(study, series, TILE, frames, JPEGBaseline8Bit)) for series in (first, second)
    ]
    one = ArchivedImages(archive="main", study=study, series=first, instance=sops[0])

    def read():
        with pytest.raises(ImageRefused, match="2 slide series"):
            supply_of(f"dicomweb:main/studies/{study}", places=places)
        with pytest.raises(ImageMissing):
            supply_of(replace(one, instance=sops[1]).reference, places=places).series.instances()
        with pytest.raises(ImageMissing):
            supply_of(f"dicomweb:main/studies/{generate_uid()}", places=places)
        supply = supply_of(one.reference, places=places)
        return supply.sop_instance_uid, [each["00080018"]["Value"] for each in supply.series.instances()]

    assert orthanc.inside(read) == (sops[0], [[sops[0]]])
