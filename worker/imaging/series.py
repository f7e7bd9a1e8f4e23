"""Series: one DICOM series in an archive, as the slide readers ask for it (`worker.imaging.supply.Archive`).

In: an archive and what a reference names in it. Out: metadata without patients' names, frames as they are
stored, and the transfer syntax they are stored in; or a refusal. Frames come in batches; a batch that breaks
off is gone on with where it broke. It decodes nothing and chooses no level.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from threading import RLock
from typing import Any, Final
from urllib.parse import urljoin

from worker.errors import (
    FetchFailed,
    ImageMissing,
    ImageRefused,
    ImageTooLarge,
    RegionOutside,
    UnsupportedImage,
)
from worker.imaging.archives import Access
from worker.imaging.dicomweb import Budget, bulk_data, dicom_json, related_parts
from worker.imaging.multipart import Part
from worker.imaging.patience import Again, Patience, patiently
from worker.jobs.archived import ArchivedImages, is_uid

MOST_INSTANCES: Final = 1000
MOST_PROFILE_BYTES: Final = 4 * 1024 * 1024
SLIDE_MICROSCOPY: Final = "SM"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
#: DICOM JSON keys (PS3.18 F.2): group and element
_SOP_INSTANCE, _MODALITY, _SERIES, _FRAMES = "00080018", "00080060", "0020000E", "00280008"
#: Available Transfer Syntax UID: what an archive that says so has stored
_AVAILABLE = "00083002"
_ROWS, _COLUMNS, _SAMPLES, _BITS = "00280010", "00280011", "00280002", "00280100"
_OPTICAL_PATHS, _PROFILE = "00480105", "00282000"
_PATIENT_GROUP = "0010"

DataSet = dict[str, Any]


def find_series(access: Access, study: str, *, sleep: Callable[[float], object] = time.sleep) -> str:
    """UID of the one slide series of a study. Raises ImageMissing, ImageRefused where there are several,
    and what the archive's answers raise."""
    budget = Budget(bytes=access.max_bytes, frames=0)
    path = f"/studies/{study}/series?Modality={SLIDE_MICROSCOPY}"
    found = patiently(lambda: dicom_json(access, path, budget), sleep=sleep)
    uids = {_text(each, _SERIES) for each in found if _text(each, _MODALITY) == SLIDE_MICROSCOPY} - {""}
    if not uids:
        raise ImageMissing("The study has no slide series.")
    if len(uids) > 1:
        raise ImageRefused(f"The study has {len(uids)} slide series: name one.")
    (uid,) = uids
    if not is_uid(uid):
        raise ImageMissing
    return uid


class Series:
    """For any number of threads: one request at a time."""

    def __init__(
        self, access: Access, named: ArchivedImages, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._access = access
        self._path = f"/studies/{named.study}/series/{named.series}"
        self._instance = named.instance
        self._sleep = sleep
        self._budget = Budget(bytes=access.max_bytes, frames=access.max_frames)
        #: by SOP Instance UID
        self._metadata: dict[str, DataSet] = {}
        self._syntaxes: dict[str, str] = {}
        #: frames that were asked for to learn their syntax
        self._first: dict[str, bytes] = {}
        self._lock = RLock()

    def instances(self) -> Sequence[DataSet]:
        """Of the instance alone, where the reference names one."""
        with self._lock:
            if not self._metadata:
                only = f"/instances/{self._instance}" if self._instance else ""
                path = f"{self._path}{only}/metadata"
                found = patiently(lambda: dicom_json(self._access, path, self._budget), sleep=self._sleep)
                if not found:
                    raise ImageMissing
                if len(found) > MOST_INSTANCES:
                    raise ImageTooLarge(f"{len(found)} instances in one series.")
                self._metadata = {_text(each, _SOP_INSTANCE): self._told(each) for each in found}
            return list(self._metadata.values())

    def transfer_syntax(self, sop_instance_uid: str) -> str:
        with self._lock:
            if sop_instance_uid not in self._syntaxes:
                (self._first[sop_instance_uid],) = self._fetched(sop_instance_uid, [1])
            return self._syntaxes[sop_instance_uid]

    def frames(self, sop_instance_uid: str, numbers: Sequence[int]) -> Sequence[bytes]:
        with self._lock:
            wanted = list(dict.fromkeys(numbers))
            found = {}
            if 1 in wanted and sop_instance_uid in self._first:
                found[1] = self._first.pop(sop_instance_uid)
                wanted.remove(1)
            fetched = self._fetched(sop_instance_uid, wanted) if wanted else []
            found |= dict(zip(wanted, fetched, strict=True))
            return [found[number] for number in numbers]

    def _fetched(self, uid: str, numbers: Sequence[int]) -> list[bytes]:
        """Each number once."""
        metadata = self._of(uid)
        frames = _number(metadata, _FRAMES) or 1
        if not all(1 <= number <= frames for number in numbers):
            raise RegionOutside(f"There are {frames} frames.")
        self._budget.take_frames(len(numbers))
        found: dict[int, bytes] = {}
        size = self._access.batch
        for start in range(0, len(numbers), size):
            for number, part in self._batch(uid, numbers[start : start + size]):
                self._note_syntax(uid, part, metadata)
                found[number] = part.body
        return [found[number] for number in numbers]

    def _of(self, uid: str) -> DataSet:
        """Of a UID that the archive itself gave: no other becomes part of a URL."""
        self.instances()
        if uid not in self._metadata or not is_uid(uid):
            raise ImageMissing
        return self._metadata[uid]

    def _batch(self, uid: str, numbers: Sequence[int]) -> Iterator[tuple[int, Part]]:
        missing, patience = list(numbers), Patience(sleep=self._sleep)
        while missing:
            path = f"{self._path}/instances/{uid}/frames/{','.join(map(str, missing))}"
            try:
                for part in related_parts(self._access, path, self._budget):
                    if not missing or not _is_of(part, missing[0]):
                        raise FetchFailed("The archive sent other frames than it was asked for.")
                    yield missing.pop(0), part
                    patience.renew()
                if missing:
                    patience.wait(Again("The archive sent fewer frames than it was asked for."))
            except Again as failure:
                patience.wait(failure)

    def _note_syntax(self, uid: str, part: Part, metadata: DataSet) -> None:
        """Raises UnsupportedImage for frames that are not as they are stored."""
        syntax = _syntax_of(part, metadata)
        stored = _values(metadata, _AVAILABLE)
        if (stored and syntax not in stored) or self._syntaxes.setdefault(uid, syntax) != syntax:
            raise UnsupportedImage("The archive transcodes: it does not send frames as it stores them.")

    def _told(self, dataset: DataSet) -> DataSet:
        """Without names and the patient's own group; with ICC profiles that the archive only links to."""
        kept = {
            key: element for key, element in dataset.items()
            if not key.startswith(_PATIENT_GROUP) and _representation(element) != "PN"
        }  # fmt: skip
        self._inline_profile(kept)
        for path in _values(kept, _OPTICAL_PATHS):
            if isinstance(path, dict):
                self._inline_profile(path)
        return kept

    def _inline_profile(self, dataset: DataSet) -> None:
        element = dataset.get(_PROFILE)
        link = element.get("BulkDataURI") if isinstance(element, dict) else None
        if not isinstance(link, str):
            return
        url = urljoin(f"{self._access.url}{self._path}/", link)
        profile = patiently(
            lambda: bulk_data(self._access, url, self._budget, max_bytes=MOST_PROFILE_BYTES),
            sleep=self._sleep,
        )
        dataset[_PROFILE] = {"vr": "OB", "InlineBinary": base64.b64encode(profile).decode()}


def _is_of(part: Part, number: int) -> bool:
    """Where a part says which frame it is."""
    _, named, said = part.location.rpartition("/frames/")
    return not named or said == str(number)


def _syntax_of(part: Part, metadata: DataSet) -> str:
    """As the part says; else as the metadata says; else what its length leaves no doubt about."""
    if is_uid(part.transfer_syntax):
        return part.transfer_syntax
    stored = _values(metadata, _AVAILABLE)
    if len(stored) == 1 and isinstance(stored[0], str):
        return stored[0]
    bits = _number(metadata, _ROWS) * _number(metadata, _COLUMNS) * _number(metadata, _SAMPLES)
    if len(part.body) == bits * _number(metadata, _BITS) // 8:
        return EXPLICIT_LITTLE_ENDIAN
    raise UnsupportedImage("The archive does not say in which transfer syntax it sends frames.")


def _values(dataset: DataSet, key: str) -> list[Any]:
    element = dataset.get(key)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _representation(element: Any) -> str:
    return str(element.get("vr", "")) if isinstance(element, dict) else ""


def _text(dataset: DataSet, key: str) -> str:
    return next((value for value in _values(dataset, key) if isinstance(value, str)), "")


def _number(dataset: DataSet, key: str) -> int:
    """0 where there is none. An IS may come as text (PS3.18 F.2.3)."""
    value = next(iter(_values(dataset, key)), 0)
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() and len(value) < 12 else 0
    return value if isinstance(value, int) else 0
