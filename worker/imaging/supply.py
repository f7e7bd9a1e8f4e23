"""Supply: where a reader's bytes come from, as far as a reader needs to know.

In: nothing. Out: the kinds of supply that `fetch` makes of a reference and that the readers take: bytes in
memory,
files on this machine's disk, a file of which pieces can be asked for, or a series in an archive. The last two
stay in
the worker's own process; a reader in the child process asks for each piece (`sandbox`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Pieces(Protocol):
    """A remote file. Both raise FetchFailed, ImageTooLarge (a cap of bytes was passed) or another
    ImageRefused."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes: ...


class Archive(Protocol):
    """One series behind DICOMweb (PS3.18). Raises as `Pieces` does."""

    def instances(self) -> Sequence[dict[str, Any]]:
        """The DICOM JSON model (PS3.18 F) of each instance: metadata without bulk data. An ICC Profile
        (0028,2000) has to come as InlineBinary, or the colours stay as they were scanned."""
        ...

    def frames(self, sop_instance_uid: str, numbers: Sequence[int]) -> Sequence[bytes]:
        """The stored bytes of frames, from 1, in the order asked; never transcoded."""
        ...

    def transfer_syntax(self, sop_instance_uid: str) -> str:
        """UID of the syntax `frames` are in."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemory:
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDisk:
    """One file, or the files of one DICOM series. Checked: regular files below an allowed folder."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    file: Pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    series: Archive
    #: where the reference names one instance of the series
    sop_instance_uid: str | None = None


Supply = InMemory | OnDisk | Remote | Archived
