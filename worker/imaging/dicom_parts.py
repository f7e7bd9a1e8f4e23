"""The instances of a DICOM whole slide, wherever they lie.

In: a supply. Out: for each instance that shows the specimen its attributes, its transfer syntax and its
stored frames on demand; or a refusal. Labels, overviews and thumbnails are turned away at their Image Type:
nothing behind it is read. wsidicom finds the frames and the positions of tiles; it opens no file and no
connection here, and it decodes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pydicom import uid
from pydicom.datadict import keyword_dict
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID
from upath import UPath
from wsidicom.errors import WsiDicomNotSupportedError
from wsidicom.file.io import WsiDicomReader
from wsidicom.file.io.wsidicom_io import WsiDicomReadIO
from wsidicom.instance import WsiDataset

from worker.errors import (
    ImageMissing,
    ImageTooLarge,
    ImageUnreadable,
    UnsupportedImage,
    UnsupportedTransferSyntax,
)
from worker.imaging import streams
from worker.imaging.identifying import flavours, is_of_the_specimen, refuse_identifying
from worker.imaging.kinds import PREAMBLE
from worker.imaging.part10 import READABLE, WANTED, file_meta, name_of
from worker.imaging.supply import Archive, Archived, InMemory, OnDisk, Supply

#: one item for each frame: their positions are read without it
_FRAMES = BaseTag(keyword_dict["PerFrameFunctionalGroupsSequence"])
_PIXELS = BaseTag(keyword_dict["PixelData"])
#: what a slide needs beyond what its pixels do
_SERIES = tuple(BaseTag(keyword_dict[keyword]) for keyword in (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PyramidUID",
    "InstanceNumber", "ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber", "SOPInstanceUIDOfConcatenationSource",
    "ImagedVolumeWidth", "ImagedVolumeHeight", "TotalPixelMatrixOriginSequence",
))  # fmt: skip
_IMAGE_TYPE = BaseTag(keyword_dict["ImageType"])
_BEHIND = BaseTag(_IMAGE_TYPE + 1)
_ATTRIBUTES = tuple(tag for tag in (*WANTED, *_SERIES) if tag not in (_FRAMES, _PIXELS))
#: the file meta information is in it; element of Media Storage SOP Class UID
_HEAD, _SOP_CLASS = 64 * 1024, 0x0002
#: PS3.5 A.4: the Item tag, and the length of a tag with its own length
_ITEM, _ITEM_HEADER = b"\xfe\xff\x00\xe0", 8
#: wsidicom asks where a stream is from, for its messages and to open it a second time: nowhere
_NOWHERE = UPath("memory:///slide")
_NOT_ALLOWED = "DICOM slide with attributes that the standard does not allow, or without some it wants"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One instance: a level, or one of several parts that a level was sent in."""

    #: those of _ATTRIBUTES: no name, number or date of a patient
    dataset: Dataset
    #: the same as wsidicom reads it
    described: WsiDataset
    syntax: UID
    #: frames as they are stored, by their index in this instance
    stored: Callable[[Sequence[int]], Iterable[bytes]]

    @property
    def sop_instance_uid(self) -> str:
        return str(self.dataset.SOPInstanceUID)


@dataclass(slots=True, kw_only=True)
class Parts:
    """Of one slide. To be closed."""

    found: list[Part] = field(default_factory=list)
    #: labels, overviews and thumbnails
    turned_away: int = 0
    opened: ExitStack = field(default_factory=ExitStack)

    def add(self, part: Part | None) -> None:
        if part is None:
            self.turned_away += 1
        elif all(part.sop_instance_uid != other.sop_instance_uid for other in self.found):
            refuse_identifying(part.dataset)
            self.found.append(part)


def open_parts(supply: Supply, *, max_bytes: int) -> Parts:
    """What is no whole slide is left out. `max_bytes` limits one stored frame."""
    parts = Parts()
    try:
        if isinstance(supply, Archived):
            _add_from_archive(parts, supply.series, supply.sop_instance_uid)
            return parts
        for stream in _streams(supply, parts.opened):
            reads = _slide_file(stream)
            if reads is not None:
                parts.add(_part_in(reads, max_bytes))
    except BaseException:
        parts.opened.close()
        raise
    return parts


def _streams(supply: InMemory | OnDisk | Any, opened: ExitStack) -> Iterable[BinaryIO]:
    if isinstance(supply, InMemory):
        yield io.BytesIO(supply.data)
    elif isinstance(supply, OnDisk):
        for path in supply.paths:
            yield opened.enter_context(streams.opened(path))
    else:
        yield streams.stream_of(supply.file)


def _slide_file(stream: BinaryIO) -> WsiDicomReadIO | None:
    """None for what is no DICOM file, and for other DICOM files."""
    head = stream.read(_HEAD)
    if head[PREAMBLE : PREAMBLE + 4] != b"DICM":
        return None
    meta = {one.element: one.value.rstrip(b"\0") for one in file_meta(head, PREAMBLE + 4)}
    if meta.get(_SOP_CLASS) != uid.VLWholeSlideMicroscopyImageStorage.encode():
        return None
    return WsiDicomReadIO(stream, _NOWHERE)


def _part_in(reads: WsiDicomReadIO, max_bytes: int) -> Part | None:
    syntax = UID(reads.file_meta_info.TransferSyntaxUID)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        raise UnsupportedTransferSyntax(f"{name_of(syntax)}, for a slide")
    first: dict[Any, Any] = {}
    reads.read_elements_until(_BEHIND, first)
    if not is_of_the_specimen(WsiDataset.get_value(first, _IMAGE_TYPE)):
        return None
    _check_syntax(syntax)
    try:
        reader = _Reader(reads)
    except WsiDicomNotSupportedError:
        raise UnsupportedImage(_NOT_ALLOWED) from None
    whole = reader.dataset.as_dataset()
    dataset = Dataset({tag: whole[tag] for tag in _ATTRIBUTES if tag in whole})
    return Part(
        dataset=dataset,
        described=reader.dataset,
        syntax=syntax,
        stored=_Frames(reads, reader, syntax, max_bytes=max_bytes).stored,
    )


def _check_syntax(syntax: UID) -> None:
    if syntax not in READABLE:
        raise UnsupportedTransferSyntax(name_of(syntax))


class _Reader(WsiDicomReader):  # type: ignore[misc] # wsidicom tells no types
    """Finds frames in all the syntaxes that `worker.imaging.frames` decodes: wsidicom's asks its codecs."""

    @property
    def transfer_syntax(self) -> UID:
        return uid.RLELossless if self._transfer_syntax_uid.is_encapsulated else uid.ExplicitVRLittleEndian


class _Frames:
    """The stored frames in one file."""

    def __init__(self, reads: WsiDicomReadIO, reader: _Reader, syntax: UID, *, max_bytes: int) -> None:
        self._reads = reads
        self._reader = reader
        self._encapsulated = syntax.is_encapsulated
        self._max_bytes = max_bytes

    def stored(self, indices: Sequence[int]) -> Iterable[bytes]:
        return (self._frame(index) for index in indices)

    def _frame(self, index: int) -> bytes:
        position, length = self._reader.frame_index[index]
        if length > self._max_bytes:
            raise ImageTooLarge(f"A frame of {length} bytes; at most {self._max_bytes} are read.")
        if not self._encapsulated:
            self._reads.seek(position)
            return bytes(self._reads.read(length))
        self._reads.seek(position - _ITEM_HEADER)
        items = self._reads.read(length + _ITEM_HEADER)
        if index == len(self._reader.frame_index) - 1:
            items += self._rest()
        return _joined(items)

    def _rest(self) -> bytes:
        """Further items of the last frame, whose end a Basic Offset Table does not tell."""
        items = b""
        while (header := self._reads.read(_ITEM_HEADER))[:4] == _ITEM:
            items += header + self._reads.read(int.from_bytes(header[4:], "little"))
            if len(items) > self._max_bytes:
                raise ImageTooLarge(f"At most {self._max_bytes} bytes of a frame are read.")
        return items


def _joined(items: bytes) -> bytes:
    """A frame may be stored in several items (PS3.5 A.4)."""
    pieces, place = [], 0
    while items[place : place + 4] == _ITEM:
        end = place + _ITEM_HEADER + int.from_bytes(items[place + 4 : place + _ITEM_HEADER], "little")
        pieces.append(items[place + _ITEM_HEADER : end])
        place = end
    if place not in (len(items), len(items) + 1):  # an item is padded, an extended offset table is not
        raise ImageUnreadable("A frame does not end where its items do.")
    return b"".join(pieces)


def _add_from_archive(parts: Parts, series: Archive, wanted: str | None) -> None:
    """With `wanted` that instance, and the other parts of its concatenation."""
    models = list(series.instances())
    if wanted is not None:
        named = next((model for model in models if _value(model, "00080018") == wanted), None)
        if named is None:
            raise ImageMissing
        source = _value(named, "00200242")
        models = [named] if source is None else [m for m in models if _value(m, "00200242") == source]
    for model in models:
        if _value(model, "00080016") == uid.VLWholeSlideMicroscopyImageStorage:
            parts.add(_part_of(series, model))


def _part_of(series: Archive, model: dict[str, Any]) -> Part | None:
    if not is_of_the_specimen(model.get("00080008", {}).get("Value")):
        return None
    instance = str(_value(model, "00080018"))
    syntax = UID(series.transfer_syntax(instance))
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        syntax = (
            uid.ExplicitVRLittleEndian
        )  # a service sends frames as they are before the data set is deflated
    _check_syntax(syntax)
    known = (f"{tag:08X}" for tag in (*_ATTRIBUTES, _FRAMES))
    dataset = Dataset.from_json({tag: model[tag] for tag in known if tag in model}, lambda _uri: b"")
    if not WsiDataset.is_supported(dataset):
        raise UnsupportedImage(_NOT_ALLOWED)
    return Part(
        dataset=Dataset({tag: dataset[tag] for tag in _ATTRIBUTES if tag in dataset}),
        described=WsiDataset(dataset),
        syntax=syntax,
        stored=lambda indices: series.frames(instance, [index + 1 for index in indices]),
    )


def _value(model: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute in the DICOM JSON model (PS3.18 F.2.2)."""
    values = model.get(tag, {}).get("Value") or [None]
    return values[0]


def is_reduced(part: Part) -> bool:
    """Whether it says that it was made smaller (PS3.3 C.8.12.4.1.1, value 4): not the base of a pyramid."""
    return "RESAMPLED" in flavours(part.dataset.get("ImageType"))[3:4]
