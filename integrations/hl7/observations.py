"""Observations: what OBX segments say of an image, a stain, a report.

In: a unit of a message. Out: DICOM identifiers, image references, stains, the words of a report. Codes are
those of IHE DPOW and DICOM; what is not known is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from integrations.hl7.message import Segment
from integrations.hl7.paths import code_of, first_parts, plain, read_path
from integrations.hl7.units import Unit
from worker.errors import FieldInvalid
from worker.jobs.order import Code

#: OBX-3.1: IHE DPOW's word, DICOM's code (PS3.16, CID 7500 and TID 1600), the attribute's tag
STUDY: Final = frozenset({"StudyInstanceUID", "110180", "0020000D"})
SERIES: Final = frozenset({"SeriesInstanceUID", "112002", "0020000E"})
#: SNOMED CT: Stain
STAIN: Final = "397165007"

_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_UID_LENGTH: Final = 64
_REFERENCE_LENGTH: Final = 2048
#: OBX-2 of what people wrote; anything else in a report is a number, a code or a file
_WORDS: Final = frozenset({"TX", "FT", "ST", ""})
#: line breaks stay
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def uid_of(unit: Unit, codes: Collection[str], paths: Sequence[str]) -> str:
    """A DICOM UID: of an OBX, else under a path; empty where there is none. Raises FieldInvalid."""
    coded = next((obx for obx in unit.all("OBX") if obx.get(3) in codes and obx.get(5)), None)
    uid, path = (plain(coded.get(5)).strip(), "OBX-5") if coded else unit.find(paths)
    if uid and (len(uid) > _UID_LENGTH or not _UID.fullmatch(uid)):
        raise FieldInvalid(f"{path} holds no DICOM UID.", where=path)
    return uid


def images_of(unit: Unit, paths: Sequence[str]) -> tuple[str, ...]:
    """Web addresses, each once. Nothing else: a message must not name files of this machine."""
    found = {value: None for path in paths for value in _wholes(unit, path) if value.startswith("https:")}
    if any(len(value) > _REFERENCE_LENGTH for value in found):
        raise FieldInvalid(f"An address is longer than {_REFERENCE_LENGTH} characters.", where="OBX-5")
    return tuple(found)


def stains_of(unit: Unit, paths: Sequence[str]) -> tuple[Code, ...]:
    """One for each stain: substances under one OBX-4 are one stain, as haematoxylin and eosin are."""
    groups: dict[str, list[Code]] = {}
    for index, obx in enumerate(unit.all("OBX")):
        if obx.get(3) == STAIN:
            code = code_of(first_parts(obx.field(5).repetition(0)))
            groups.setdefault(obx.get(4) or f"alone {index}", []).append(code)
    stains = tuple(_together(codes) for codes in groups.values())
    if stains or not paths:
        return stains
    told = unit.code(paths)
    return () if told == Code() else (told,)


def report_of(unit: Unit) -> str:
    """The words of a report, one observation a paragraph."""
    return "\n".join(filter(None, (_words(obx) for obx in unit.all("OBX") if obx.get(2) in _WORDS)))


def _together(codes: list[Code]) -> Code:
    return Code(
        code="+".join(filter(None, (one.code for one in codes))),
        text=" + ".join(filter(None, (one.text for one in codes))),
        system=next((one.system for one in codes if one.system), ""),
    )


def _words(obx: Segment) -> str:
    lines = (repetition.text for repetition in obx.field(5).repetitions)
    text = "\n".join(lines).replace("\r\n", "\n").replace("\r", "\n")
    return _NO_TEXT.sub(" ", text).strip()


def _wholes(unit: Unit, path: str) -> Iterator[str]:
    """A component with its subcomponents: an unescaped `&` of an address is no delimiter."""
    where = read_path(path)
    for segment in unit.all(where.segment):
        for repetition in segment.field(where.field).repetitions:
            yield plain(repetition.component(where.component or 1).text).strip()
