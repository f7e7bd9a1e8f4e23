"""Trace: where the spans of a job hang, so that programs that never meet tell one story.

In: a job's id, and the `traceparent` it came with (W3C Trace Context, 3.2). Out: ids. Both are made from the
job's id, so nothing has to travel with a job but what its submitter sent. Nothing here knows a collector.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    #: 128 bits: the submitter's own, or else from the job's id
    trace_id: int
    #: 64 bits, from the job's id: the span `submit`, above all others
    root_id: int
    #: the submitter's span, where it sent one
    caller_id: int | None = None
    #: False: the submitter keeps no spans of this trace, and neither do we
    is_sampled: bool = True

    @property
    def name(self) -> str:
        """As collectors show it: 32 hex digits."""
        return f"{self.trace_id:032x}"


def trace_of(job_id: str, traceparent: str | None = None) -> Trace:
    """A `traceparent` that is not valid counts as none, as the standard wants."""
    digest = hashlib.sha256(job_id.encode()).digest()
    own, root = int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
    known = _TRACEPARENT.fullmatch(traceparent or "")
    if known is None:
        return Trace(trace_id=own, root_id=root)
    given, caller, flags = (int(part, 16) for part in known.groups())
    return Trace(trace_id=given, root_id=root, caller_id=caller, is_sampled=bool(flags & _SAMPLED))


def kept(traceparent: str | None) -> str | None:
    """What is stored of the header that a submitter sent: itself, or nothing."""
    return traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None
