"""Builds DICOM files for tests: arrays and encoded frames go in, the bytes of a file come out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def image_attributes(samples: np.ndarray, photometric: str, **more: Any) -> Dataset:
    """Everything but the pixels."""
    dataset = Dataset()
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = samples.shape[:2]
    dataset.SamplesPerPixel = 3 if samples.ndim == 3 else 1
    if samples.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = samples.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def native(samples: np.ndarray, photometric: str, *, big_endian: bool = False, **more: Any) -> bytes:
    """One frame, uncompressed."""
    dataset = image_attributes(samples, photometric, **more)
    stored = samples.astype(samples.dtype.newbyteorder(">")) if big_endian else samples
    data = stored.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if samples.dtype.itemsize == 2 else "OB"
    return written(dataset, uid.ExplicitVRBigEndian if big_endian else uid.ExplicitVRLittleEndian)


def encoded(streams: list[bytes], samples: np.ndarray, photometric: str, syntax: str, **more: Any) -> bytes:
    """Frames as somebody encoded them; `samples` gives size, depth and number of samples."""
    if len(streams) > 1:
        more.setdefault("NumberOfFrames", len(streams))
    dataset = image_attributes(samples, photometric, **more)
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].VR = "OB"
    return written(dataset, syntax)


def written(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", uid.SecondaryCaptureImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
