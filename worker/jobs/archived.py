"""Archived: what lies in one of the operator's DICOMweb archives, as a reference names it.

In: `dicomweb:NAME/studies/UID[/series/UID[/instances/UID[/frames/N]]]`. Out: a frozen value, and the
reference again. NAME is a name the operator gave: no host, and nothing secret, travels in a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SCHEME: Final = "dicomweb:"
ARCHIVE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
#: PS3.5 section 9.1: at most 64 characters
_LONGEST_UID = 64
_UID = r"[0-9]+(?:\.[0-9]+)*"
_REFERENCE = re.compile(
    rf"dicomweb:(?P<archive>{ARCHIVE_NAME})/studies/(?P<study>{_UID})"
    rf"(?:/series/(?P<series>{_UID})(?:/instances/(?P<instance>{_UID})(?:/frames/(?P<frame>[1-9]\d{{0,8}}))?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ArchivedImages:
    #: as the operator calls it
    archive: str
    study: str
    #: empty: the one slide series of the study
    series: str = ""
    #: empty: the whole series
    instance: str = ""
    #: from 1
    frame: int | None = None

    @property
    def reference(self) -> str:
        parts = [f"{SCHEME}{self.archive}/studies/{self.study}"]
        parts += [f"series/{self.series}"] if self.series else []
        parts += [f"instances/{self.instance}"] if self.instance else []
        parts += [f"frames/{self.frame}"] if self.frame is not None else []
        return "/".join(parts)


def archived_in(reference: str) -> ArchivedImages:
    """Raises ValueError, which does not repeat the reference."""
    found = _REFERENCE.fullmatch(reference)
    uids = [found[name] or "" for name in ("study", "series", "instance")] if found else []
    if found is None or any(len(uid) > _LONGEST_UID for uid in uids):
        raise ValueError("must be dicomweb:NAME/studies/UID, then /series/UID, /instances/UID and /frames/N")
    return ArchivedImages(
        archive=found["archive"], study=uids[0], series=uids[1], instance=uids[2],
        frame=int(found["frame"]) if found["frame"] else None,
    )  # fmt: skip


def is_uid(text: str) -> bool:
    return len(text) <= _LONGEST_UID and re.fullmatch(_UID, text, re.ASCII) is not None
