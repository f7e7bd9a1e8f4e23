"""DICOM objects for tests, made here: slides, labels, photographs, and what goes with a result."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from tests.builders import a_reading
from worker.jobs.event import Delivery, Endpoint, EndpointStatus, EventType, Payload
from worker.jobs.order import Channel, Order, Question, Result, Sender, TriageClass
from worker.jobs.reading import PatchRecord, Reading
from worker.jobs.request import Priority

NAME = "DOE^JANE"
PATIENT = "MRN-77001"
STUDY, SERIES, FRAME = "1.2.3.1", "1.2.3.2", "1.2.3.3"
AT = datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC)
TRIAGE = Question(
    protocol="breast", version=1, name="malignant", text="Is there tumour?", options=("Yes", "No"),
    triage={"yes": "urgent"},
)  # fmt: skip


def a_slide(instance: str = "1.2.3.4", *, flavor: str = "VOLUME", tiles: int = 2, **more: Any) -> Dataset:
    """One level of a whole slide, `tiles` x `tiles` of 16 x 16 pixels, 0.5 um each."""
    dataset = _common(uid.VLWholeSlideMicroscopyImageStorage, instance, flavor)
    dataset.update({"Modality": "SM", "FrameOfReferenceUID": FRAME})
    side = 16 * tiles
    dataset.TotalPixelMatrixRows = dataset.TotalPixelMatrixColumns = side
    dataset.NumberOfFrames = tiles * tiles
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20, 40
    dataset.TotalPixelMatrixOriginSequence = [origin]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.0005, 0.0005]
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.SpecimenLabelInImage = "YES" if flavor in ("LABEL", "OVERVIEW") else "NO"
    dataset.PixelData = np.full((tiles * tiles, 16, 16, 3), 200, np.uint8).tobytes()
    return _with(dataset, more)


def a_photograph(instance: str = "1.2.3.5", *, side: int = 16, **more: Any) -> Dataset:
    dataset = _common(uid.VLPhotographicImageStorage, instance, "")
    dataset.Modality = "XC"
    dataset.Rows = dataset.Columns = side
    dataset.PixelData = bytes(side * side * 3)
    return _with(dataset, more)


def _common(sop_class: str, instance: str, flavor: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.ImageType = ["ORIGINAL", "PRIMARY", flavor, "NONE"] if flavor else ["ORIGINAL", "PRIMARY"]
    dataset.PatientName, dataset.PatientID, dataset.PatientSex = NAME, PATIENT, "F"
    dataset.PatientBirthDate, dataset.StudyDate, dataset.StudyTime = "19500101", "20261123", "100000"
    dataset.StudyID, dataset.ReferringPhysicianName, dataset.AccessionNumber = "1", "", "S26-0001"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.Manufacturer = 1, 1, "test"
    dataset.ContainerIdentifier = "S26-0001-A1-01"
    specimen = Dataset()
    specimen.SpecimenIdentifier, specimen.SpecimenUID = "S26-0001-A1", "1.2.3.6"
    dataset.SpecimenDescriptionSequence = [specimen]
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.BurnedInAnnotation = "NO"
    return dataset


def _with(dataset: Dataset, more: dict[str, Any]) -> Dataset:
    for keyword, value in more.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def a_file(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """PS3.10."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def a_delivery(attempt: int = 1) -> Delivery:
    endpoint = Endpoint(
        id="ep_1", name="archive", url="dicom://ARCHIVE@127.0.0.1:104", status=EndpointStatus.ACTIVE,
        event_types=(EventType.JOB_SUCCEEDED,), payload=Payload.THIN, secrets=(),
    )  # fmt: skip
    return Delivery(
        id="msg_1",
        job_id="job_01",
        endpoint=endpoint,
        event_type=EventType.JOB_SUCCEEDED,
        body=b"",
        attempt=attempt,
    )


def a_result(**more: Any) -> Result:
    order = Order(
        verb="available", sender=Sender(channel=Channel.DICOM, application="SCANNER"), accession="S26-0001",
        slide="S26-0001-A1-01", study_uid=STUDY, series_uid=SERIES,
    )  # fmt: skip
    fields = {
        "job_id": "job_01", "order": order, "question": TRIAGE, "triage": TriageClass.URGENT,
        "priority": Priority.URGENT, "supersedes": None, "observed_at": AT,
    }  # fmt: skip
    return Result(**fields | more)


def a_reading_of(*boxes: tuple[int, int, int, int] | None, frame: int | None = None, **more: Any) -> Reading:
    """One patch of image 0 for each box."""
    from dataclasses import replace

    reading = a_reading(answer="A. Yes", choice="A", **more)
    patches = tuple(
        PatchRecord(
            image=0, source_digest="sha256:aa", pixels_digest="sha256:bb", format="DICOM", width=8, height=8,
            region=box, frame=frame,
        )
        for box in boxes
    )  # fmt: skip
    return replace(reading, provenance=replace(reading.provenance, patches=patches))
