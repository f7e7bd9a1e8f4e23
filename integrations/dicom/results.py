"""A result becomes a DICOM structured report: Comprehensive 3D SR, TID 1500, preliminary and unverified.

In: a Result, its Reading, and the headers of the images that were read (`header.read_evidence`). Out: the
bytes of a DICOM file, the same for the same job: its UIDs are made from the job's id. The patient is copied
from the images into the report, and nowhere else. It does not know where the report goes.

The content tree is in `content`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import Comprehensive3DSR
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from integrations.dicom.content import SCHEME, measurement_report, short, uid_of
from integrations.dicom.header import hush
from worker import __version__
from worker.errors import UnsupportedImage
from worker.jobs.order import Result
from worker.jobs.reading import Reading, ReadingOutcome

MANUFACTURER: Final = "Pathlane"
#: far from the numbers that scanners use
SERIES_NUMBER: Final = 900


def report_uid(job_id: str) -> str:
    """SOP Instance UID of the report on this job: sending twice makes one object."""
    return uid_of("report", job_id)


def structured_report(result: Result, reading: Reading, evidence: Sequence[Dataset]) -> bytes:
    """`evidence`: one header for each image of the job, in the order of the job's images.

    Raises UnsupportedImage where there is none: a report belongs to the study of an image.
    """
    if not evidence:
        raise UnsupportedImage("A structured report refers to DICOM images, and there is none.")
    hush()
    return _file(_document(result, reading, evidence))


def _document(result: Result, reading: Reading, evidence: Sequence[Dataset]) -> Dataset:
    provenance = reading.provenance
    document = Comprehensive3DSR(
        evidence=list(evidence),
        content=measurement_report(result, reading, evidence),
        series_instance_uid=uid_of("series", result.job_id),
        series_number=SERIES_NUMBER,
        sop_instance_uid=report_uid(result.job_id),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=reading.outcome is ReadingOutcome.ANSWERED,
        is_final=False,
        is_verified=False,
        previous_versions=_replaced(result, evidence[0]),
        specific_character_set="ISO_IR 192",
        series_description="Model reading, not reviewed",
        manufacturer_model_name=short(provenance.model),
        software_versions=__version__,
        device_serial_number=short(provenance.weights_digest),
        coding_schemes=[
            CodingSchemeIdentificationItem(
                SCHEME, name="Site protocols and triage classes", responsible_organization=MANUFACTURER
            )
        ],
    )
    document.SpecificCharacterSet = "ISO_IR 192"
    # Without Timezone Offset From UTC: that would hold for the study's time as well, which is the scanner's.
    at = result.observed_at
    document.ContentDate = document.InstanceCreationDate = DA(at.date())
    document.ContentTime = document.InstanceCreationTime = TM(at.time().replace(microsecond=0))
    for equipment in document.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = at.strftime("%Y%m%d%H%M%S%z")
    return document


def _replaced(result: Result, image: Dataset) -> list[Dataset] | None:
    """The report on the job whose reading this one replaces: Predecessor Documents Sequence."""
    if result.supersedes is None:
        return None
    before = Dataset()
    before.SOPClassUID = uid.Comprehensive3DSRStorage
    before.SOPInstanceUID = report_uid(result.supersedes)
    before.StudyInstanceUID = image.StudyInstanceUID
    before.SeriesInstanceUID = uid_of("series", result.supersedes)
    return [before]


def _file(document: Dataset) -> bytes:
    """PS3.10, Explicit VR Little Endian; the preamble is zero."""
    file = io.BytesIO()
    document.save_as(file, enforce_file_format=True)
    return file.getvalue()
