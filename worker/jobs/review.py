"""Reviews: what a person says about a reading. They stand beside it and never change it.

In: rows of the store, and what the API was sent. Out: frozen values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What a reviewer makes of a reading."""

    AGREE = "agree"  #: it is right
    DISAGREE = "disagree"  #: it is wrong
    CORRECT = "correct"  #: it is wrong, and this is the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    #: `rev_` and a ULID
    id: str
    job_id: str
    created_at: datetime
    #: as the audit names whoever it was
    reviewer: str
    verdict: Verdict
    comment: str = field(default="", repr=False)
    #: with `correct`, and with nothing else
    corrected_answer: str | None = field(default=None, repr=False)
