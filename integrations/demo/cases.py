"""The cases of the demonstration: photographs that ship with free packages, and tiles the model's own
program draws; as PNG, JPEG and DICOM.

In: an empty folder. Out: files in it, and for each what is asked and what is right. No picture is shipped
in this repository.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from integrations.supervisor import python
from worker.jobs.request import Priority, Style

QUESTION = "Which stain is shown?"
HE, DAB, NONE, OTHER = (
    "Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue", "Other stain",
)  # fmt: skip
#: VL Photographic Image Storage (PS3.4 B.5)
VL_PHOTOGRAPHIC = UID("1.2.840.10008.5.1.4.1.1.77.1.4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    file: Path
    truth: str
    priority: Priority = Priority.ROUTINE
    style: Style = Style.COT
    #: none: an open question
    options: tuple[str, ...] = ()


def make(folder: Path) -> list[Case]:
    """Write the pictures into `folder`."""
    return [*_photographs(folder), *_drawn(folder)]


def _photographs(folder: Path) -> list[Case]:
    dab, he = _ihc(), _he()
    swapped = Image.merge("RGB", dab.split()[::-1])
    three = (HE, DAB, NONE)
    return [
        Case(name="IHC photograph, PNG", file=_png(folder, dab), truth=DAB,
             priority=Priority.STAT, options=three),
        Case(name="IHC photograph, JPEG", file=_jpeg(folder, dab), truth=DAB,
             style=Style.COD, options=(NONE, DAB)),
        Case(name="IHC photograph, DICOM JPEG", file=_dicom_jpeg(folder, dab), truth=DAB,
             priority=Priority.URGENT, options=(DAB, OTHER, HE, NONE)),
        Case(name="H&E photograph, PNG", file=_png(folder, he), truth=HE,
             priority=Priority.URGENT, options=three),
        Case(name="H&E photograph, JPEG", file=_jpeg(folder, he), truth=HE, style=Style.COD),
        Case(name="H&E photograph, DICOM", file=_dicom(folder, he), truth=HE, priority=Priority.STAT,
             style=Style.COD, options=(NONE, OTHER, DAB, HE)),
        Case(name="IHC, red and blue swapped", file=_png(folder, swapped), truth=OTHER, options=(DAB, OTHER)),
    ]  # fmt: skip


def _drawn(folder: Path) -> list[Case]:
    """Tiles of the demonstration model's own program, made elsewhere: this side needs no torch."""
    drawn = folder / "drawn"
    command = python(
        "worker.engine.models.demo", "draw", "--out", str(drawn), "--count", "5", "--seed", "2027"
    )
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    labels: dict[str, str] = json.loads((drawn / "labels.json").read_text())
    styles = (Style.COT, Style.COD)
    return [
        Case(name=f"drawn tile {number + 1}", file=drawn / name, truth=truth, style=styles[number % 2],
             options=(HE, DAB, NONE, OTHER) if number % 3 else ())
        for number, (name, truth) in enumerate(sorted(labels.items()))
    ]  # fmt: skip


def _ihc() -> Image.Image:
    """Colonic glands, FHL2 with DAB: scikit-image, no known copyright restrictions."""
    return Image.open(io.BytesIO((files("skimage") / "data" / "ihc.png").read_bytes())).convert("RGB")


def _he() -> Image.Image:
    """A tile of an Aperio slide: wsidicom-data, Apache-2.0."""
    found = next(p for p in _walk(files("wsidicom_data")) if p.name == "test_tile.png")
    return Image.open(io.BytesIO(found.read_bytes())).convert("RGB")


def _walk(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        yield from _walk(entry) if entry.is_dir() else (entry,)


def _free(folder: Path, suffix: str) -> Path:
    return folder / f"{len(list(folder.iterdir()))}{suffix}"


def _png(folder: Path, picture: Image.Image) -> Path:
    file = _free(folder, ".png")
    picture.save(file)
    return file


def _jpeg(folder: Path, picture: Image.Image) -> Path:
    file = _free(folder, ".jpg")
    picture.save(file, quality=85)
    return file


def _dicom(folder: Path, picture: Image.Image) -> Path:
    dataset = _data_set(picture, "RGB", ExplicitVRLittleEndian)
    dataset.PixelData = np.asarray(picture).tobytes()
    return _saved(folder, dataset)


def _dicom_jpeg(folder: Path, picture: Image.Image) -> Path:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90, subsampling=1)
    dataset = _data_set(picture, "YBR_FULL_422", JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    return _saved(folder, dataset)


def _data_set(picture: Image.Image, photometric: str, transfer_syntax: UID) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = VL_PHOTOGRAPHIC, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.ImageType = "XC", ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns = picture.height, picture.width
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    return dataset


def _saved(folder: Path, dataset: Dataset) -> Path:
    file = _free(folder, ".dcm")
    dataset.save_as(file, enforce_file_format=True)
    return file
