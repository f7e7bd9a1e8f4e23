"""The header of a DICOM file becomes an Instance, or the evidence that a report refers to.

In: a file nobody vouches for, open for reading. Out: an Instance, or a data set with the attributes in
EVIDENCE; or ImageUnreadable, which quotes nothing. A bounded part of the file is read, up to the last
attribute that is wanted: pixels are never parsed and never decoded.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from pydicom import config, uid
from pydicom.datadict import keyword_dict
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from integrations.dicom.instance import NOT_THE_SPECIMEN, Instance
from worker.errors import ImageUnreadable, PathlaneError

#: read of a file at most; all that is wanted stands in front of the tile positions of a sparse slide
HEADER_BYTES: Final = 8 * 1024 * 1024

DESCRIBING: Final = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "Modality", "ImageType", "AccessionNumber", "ContainerIdentifier", "SpecimenDescriptionSequence",
    "Rows", "Columns", "NumberOfFrames", "TotalPixelMatrixRows", "TotalPixelMatrixColumns",
    "BurnedInAnnotation", "SpecimenLabelInImage",
)  # fmt: skip
#: with the patient and the study: for the report that goes back to the archive, and for nothing else
EVIDENCE: Final = (
    *DESCRIBING,
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "FrameOfReferenceUID", "ImageOrientationSlide", "TotalPixelMatrixOriginSequence",
    "SharedFunctionalGroupsSequence",
)  # fmt: skip

#: of still pictures. Not of video, of pixels that are elsewhere (JPIP), nor of a data set that is deflated:
#: pydicom would inflate that without a limit
SYNTAXES: Final[tuple[UID, ...]] = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless,
    uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1,
    uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000,
    uid.JPEG2000MCLossless, uid.JPEG2000MC, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K,
)  # fmt: skip

_DATES_AND_TIMES: Final[dict[str, type[DA | TM]]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
#: type 2 in every image: there, and perhaps empty
_ALWAYS: Final = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_TALKATIVE: Final = ("pydicom", "pynetdicom", "highdicom")
_MODULES: Final = rf"({'|'.join(_TALKATIVE)})(\.|$)"
#: what `warnings.filterwarnings` makes of it
_FILTER: Final[Any] = ("ignore", None, Warning, re.compile(_MODULES), 0)
_SILENT: Final = logging.CRITICAL + 1
_UID: Final = re.compile(r"[0-9][0-9.]{0,63}")
_PREAMBLE: Final = 128
_LONG_FORM: Final = (
    b"OB",
    b"OD",
    b"OF",
    b"OL",
    b"OV",
    b"OW",
    b"SQ",
    b"SV",
    b"UC",
    b"UN",
    b"UR",
    b"UT",
    b"UV",
)


def hush() -> None:
    """Silence the DICOM libraries, for good: their warnings and log lines quote what they read.

    It belongs to the whole process, where others may take it away, so it is made sure of before each use.
    """
    if list(warnings.filters[:1]) != [_FILTER]:
        warnings.filterwarnings("ignore", module=_MODULES)
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level != _SILENT:
            logger.setLevel(_SILENT)
    config.settings.reading_validation_mode = config.IGNORE


def read_instance(file: BinaryIO, *, caller: str) -> Instance:
    """What the header says. Raises ImageUnreadable, also where one of the four UIDs is missing or is none."""
    with _reading():
        dataset = _part(file, DESCRIBING)
        image_type = [word.upper() for word in _words(dataset, "ImageType")]
        rows, columns = _number(dataset, "Rows"), _number(dataset, "Columns")
        shows_text = any(_says_yes(dataset, k) for k in ("BurnedInAnnotation", "SpecimenLabelInImage"))
        return Instance(
            sop_class=_uid(dataset, "SOPClassUID"),
            sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
            study_uid=_uid(dataset, "StudyInstanceUID"),
            series_uid=_uid(dataset, "SeriesInstanceUID"),
            modality=_text(dataset, "Modality"),
            flavor=image_type[2] if len(image_type) > 2 else "",
            accession=_text(dataset, "AccessionNumber"),
            container=_text(dataset, "ContainerIdentifier"),
            specimens=tuple(filter(None, (_text(item, "SpecimenIdentifier") for item in _items(dataset)))),
            rows=rows,
            columns=columns,
            frames=_number(dataset, "NumberOfFrames") or (1 if rows else 0),
            matrix_rows=_number(dataset, "TotalPixelMatrixRows"),
            matrix_columns=_number(dataset, "TotalPixelMatrixColumns"),
            eligible=bool(rows and columns) and not shows_text and NOT_THE_SPECIMEN.isdisjoint(image_type),
            caller=caller,
        )


def read_evidence(file: BinaryIO) -> Dataset:
    """The attributes in EVIDENCE that the file has, with its text as UTF-8 and what cannot be a date emptied.

    Raises ImageUnreadable, also where one of the four UIDs is missing or is none.
    """
    with _reading():
        dataset = _part(file, EVIDENCE)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(dataset, keyword, _uid(dataset, keyword))
        dataset.decode()
        for keyword in ("PatientName", "ReferringPhysicianName"):
            setattr(dataset, keyword, _text(dataset, keyword))
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for keyword, kind in _DATES_AND_TIMES.items():
            setattr(dataset, keyword, _usable(_text(dataset, keyword), kind))
        if _text(dataset, "PatientSex") not in {"M", "F", "O"}:
            dataset.PatientSex = ""
        for keyword in _ALWAYS:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
        return dataset


@contextmanager
def _reading() -> Iterator[None]:
    hush()
    try:
        yield
    except PathlaneError:
        raise
    except Exception:  # noqa: BLE001 - parsers raise nearly anything, and quote what they read
        raise ImageUnreadable("DICOM") from None


def _part(file: BinaryIO, wanted: tuple[str, ...]) -> Dataset:
    """The wanted elements, from the first HEADER_BYTES: no length in the file can ask for more memory."""
    data = file.read(HEADER_BYTES)
    syntax, start = _syntax(data)
    tags = [keyword_dict[keyword] for keyword in wanted]
    body = io.BytesIO(data)
    body.seek(start)
    last = max(tags)
    return read_dataset(
        body,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, _vr, _length: int(tag) > last,
        specific_tags=tags,
    )


def _syntax(data: bytes) -> tuple[UID, int]:
    """The transfer syntax, and where the data set begins (PS3.10 section 7.1)."""
    if data[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        raise ImageUnreadable("DICOM")
    place, syntax = _PREAMBLE + 4, UID("")
    while data[place : place + 2] == b"\x02\x00":
        element = int.from_bytes(data[place + 2 : place + 4], "little")
        width, value = (4, place + 12) if data[place + 4 : place + 6] in _LONG_FORM else (2, place + 8)
        end = value + int.from_bytes(data[value - width : value], "little")
        if element == 0x0010:
            syntax = UID(data[value:end].rstrip(b"\0 ").decode("ascii"), validation_mode=config.IGNORE)
        place = end
    if syntax not in SYNTAXES:
        raise ImageUnreadable("DICOM")
    return syntax, place


def _uid(dataset: Dataset, keyword: str) -> str:
    text = _text(dataset, keyword)
    if _UID.fullmatch(text) is None:
        raise ImageUnreadable(f"It has no usable {keyword}.")
    return text


def _text(dataset: Dataset, keyword: str) -> str:
    words = _words(dataset, keyword)
    return words[0] if words else ""


def _words(dataset: Dataset, keyword: str) -> list[str]:
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue | list | tuple) else (value,)
    return [str(one).strip(" \0") for one in values if one is not None]


def _number(dataset: Dataset, keyword: str) -> int:
    """0 for what is missing or no number."""
    try:
        return max(int(_text(dataset, keyword)), 0)
    except ValueError:
        return 0


def _items(dataset: Dataset) -> list[Dataset]:
    return list(dataset.get("SpecimenDescriptionSequence") or ())


def _says_yes(dataset: Dataset, keyword: str) -> bool:
    return _text(dataset, keyword).upper() == "YES"


def _usable(text: str, kind: type[DA | TM]) -> str:
    try:
        return text if kind(text) else ""
    except ValueError:
        return ""
