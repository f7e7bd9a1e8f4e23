"""One frame of an instance in an archive becomes a DICOM file that holds nothing else.

In: a series behind DICOMweb, and a frame's number. Out: the bytes of a file as `worker.imaging.dicom` reads
them, with the frame as the archive keeps it. It decodes nothing.
"""

from __future__ import annotations

import io
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from worker.errors import ImageMissing, RegionOutside, UnsupportedImage
from worker.imaging.boundary import decoding
from worker.imaging.supply import Archived

_SOP_INSTANCE_UID = "00080018"


def frame_file(supply: Archived, number: int) -> bytes:
    """`number` counts from 1. Raises UnsupportedImage where no instance is named, ImageMissing,
    RegionOutside, or what the archive raises."""
    uid = supply.sop_instance_uid
    if uid is None:
        raise UnsupportedImage("a DICOM series that is no whole slide, without an instance")
    with decoding("DICOM"):
        dataset = Dataset.from_json(_without_bulk(_named(supply, uid)))
        if number > int(dataset.get("NumberOfFrames") or 1):
            raise RegionOutside(f"There is no frame {number}.")
        syntax = UID(supply.series.transfer_syntax(uid))
    [stored] = supply.series.frames(uid, [number])
    with decoding("DICOM"):
        return _file(_alone(dataset, number), syntax, stored)


def _named(supply: Archived, uid: str) -> dict[str, Any]:
    for instance in supply.series.instances():
        if (instance.get(_SOP_INSTANCE_UID) or {}).get("Value") == [uid]:
            return instance
    raise ImageMissing


def _without_bulk(instance: dict[str, Any]) -> dict[str, Any]:
    """PS3.18 F.2.2: what is too large for the metadata is named by a URI there."""
    return {tag: element for tag, element in instance.items() if "BulkDataURI" not in element}


def _alone(dataset: Dataset, number: int) -> Dataset:
    """With one frame, and what was said of that one."""
    if "NumberOfFrames" in dataset:
        dataset.NumberOfFrames = 1
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups:
        dataset.PerFrameFunctionalGroupsSequence = [groups[number - 1]]
    return dataset


def _file(dataset: Dataset, syntax: UID, stored: bytes) -> bytes:
    even = stored + b"\0" * (len(stored) % 2)
    dataset.add_new("PixelData", "OB", encapsulate([stored]) if syntax.is_encapsulated else even)
    dataset["PixelData"].is_undefined_length = syntax.is_encapsulated
    if not syntax.is_encapsulated and int(dataset.BitsAllocated) > 8:
        dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
