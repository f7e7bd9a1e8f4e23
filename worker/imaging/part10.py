"""DICOM files (PS3.10): bytes become a data set, with the few attributes that pixels need.

In: a DICOM file, or a data set without its header. Out: the data set and its transfer syntax, or a refusal.
Only the attributes in WANTED are read: no name, number or date of a patient gets into memory as such.
It does not decode pixels.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from pydicom import config, uid
from pydicom.datadict import keyword_dict
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from worker.errors import ImageTooLarge, ImageUnreadable, UnsupportedTransferSyntax
from worker.imaging.kinds import PREAMBLE

READABLE: frozenset[str] = frozenset({
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian, uid.RLELossless,
    uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSLossless, uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K,
})  # fmt: skip

WANTED = tuple(BaseTag(keyword_dict[keyword]) for keyword in (
    "SOPClassUID", "ImageType", "BurnedInAnnotation", "SpecimenLabelInImage",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "RescaleType",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "ICCProfile", "OpticalPathSequence", "NumberOfOpticalPaths",
    "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "TotalPixelMatrixFocalPlanes",
    "DimensionOrganizationType", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "PixelData", "FloatPixelData", "DoubleFloatPixelData",
))  # fmt: skip

#: registered after the dictionary of pydicom 3.0 was made
_NEWER = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
_LONG_FORM = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_TRANSFER_SYNTAX = 0x0010
_HIGHEST_PLAUSIBLE_FIRST_GROUP = 0x0400


class _MetaElement(NamedTuple):
    element: int
    value: bytes
    end: int


def read_file(data: bytes, *, max_bytes: int) -> tuple[Dataset, UID]:
    """The wanted part of the data set, and its transfer syntax. `max_bytes` limits what a deflated one
    may inflate to.

    Raises UnsupportedTransferSyntax, ImageTooLarge or ImageUnreadable; pydicom's own exceptions pass.
    """
    start = PREAMBLE + 4 if data[PREAMBLE : PREAMBLE + 4] == b"DICM" else 0
    syntax = None
    for element, value, end in file_meta(data, start):
        start = end
        if element == _TRANSFER_SYNTAX:
            syntax = UID(value.rstrip(b"\0 ").decode("ascii", "replace"))
    syntax = syntax or _guess(data, start)
    if syntax not in READABLE:
        raise UnsupportedTransferSyntax(name_of(syntax))
    body = io.BytesIO(data)
    body.seek(start)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        body = io.BytesIO(_inflate(memoryview(data)[start:], max_bytes))
    dataset = read_dataset(body, syntax.is_implicit_VR, syntax.is_little_endian, specific_tags=list(WANTED))
    return dataset, syntax


def name_of(syntax: str) -> str:
    """Name and UID of a registered one. Anything else is not repeated: the field may hold whatever somebody
    put there, and numbers of patients are digits too."""
    known = UID(syntax, validation_mode=config.IGNORE)
    name = known.name if known.type == "Transfer Syntax" else _NEWER.get(syntax)
    return f"{name} ({syntax})" if name else "unknown"


def file_meta(data: bytes, start: int) -> Iterator[_MetaElement]:
    """The elements of group 0002: always Explicit VR Little Endian (PS3.10 section 7.1)."""
    while data[start : start + 2] == b"\x02\x00":
        element = int.from_bytes(data[start + 2 : start + 4], "little")
        long_form = data[start + 4 : start + 6] in _LONG_FORM
        width, value = (4, start + 12) if long_form else (2, start + 8)
        end = value + int.from_bytes(data[value - width : value], "little")
        if end > len(data):
            raise ImageUnreadable("The DICOM file meta information is cut short.")
        yield _MetaElement(element, data[value:end], end)
        start = end


def _guess(data: bytes, start: int) -> UID:
    """From the first element, for a data set that says nothing: its group is low, a VR two capitals."""
    vr = data[start + 4 : start + 6]
    if not (vr.isalpha() and vr.isupper()):
        return uid.ImplicitVRLittleEndian
    group = int.from_bytes(data[start : start + 2], "little")
    return uid.ExplicitVRBigEndian if group >= _HIGHEST_PLAUSIBLE_FIRST_GROUP else uid.ExplicitVRLittleEndian


def _inflate(deflated: memoryview, max_bytes: int) -> bytes:
    """Done here because pydicom would inflate without a limit. PS3.5 A.5: raw deflate, RFC 1951."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = stream.decompress(deflated, max_bytes + 1)
    if len(inflated) > max_bytes:
        raise ImageTooLarge(f"It inflates to more than {max_bytes} bytes.")
    if not stream.eof:
        raise ImageUnreadable("The deflated data set is cut short.")
    return inflated
