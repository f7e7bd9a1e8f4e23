"""The audit's words, and its arithmetic: how the digest of one row follows from the row before it.

In: the columns of rows. Out: digests and heads. It knows no database. What it names are ids, systems, keys
and accounts, never patients.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from worker.jobs.job import Status

#: who did it, where a caller gave no name
UNNAMED: Final = "unnamed"
#: whoever looked after a lease that ran out
SWEEP: Final = "sweep"
COURIER: Final = "courier"

#: what a digest is made of, in this order, after `seq`
COLUMNS: Final = (
    "id", "at", "actor", "action", "job_id", "case_id", "delivery_id", "message_id", "subject_id", "attempt",
    "code", "sealed",
)  # fmt: skip

_encoded: Final = json.JSONEncoder(separators=(",", ":"), default=repr).encode
_HEAD: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


class Action(StrEnum):
    """What was done."""

    SUBMITTED = "submitted"  #: a request was accepted
    CLAIMED = "claimed"  #: a worker took the job
    RELEASED = "released"  #: the worker gave it back before it was read; the attempt does not count
    RETURNED = "returned"  #: back to the queue: its lease ran out, or the error is worth another try
    FINISHED = "finished"  #: it has its reading
    FAILED = "failed"  #: it ended without one
    CANCEL_ASKED = "cancel asked"  #: a running job is to stop
    CANCELLED = "cancelled"  #: it ended because somebody took it back
    RERUN = "rerun"  #: the same request was submitted again as another job
    READ = "read"  #: somebody was given the reading
    LISTED = "listed"  #: somebody was given a page of jobs with their answers; `code` says how many
    REVIEWED = "reviewed"  #: a person said whether the reading is right
    DELIVERED = "delivered"  #: the receiver said that it has the event
    GIVEN_UP = "delivery given up"  #: exhausted, gone, or no longer true
    REPLAYED = "replayed"  #: a delivery is to be sent again
    ANSWERS_READ = "answers read"  #: somebody was given what a receiver answered
    KEY_ADDED = "key added"
    KEY_REVOKED = "key revoked"
    LINK_MADE = "sign-in link made"  #: a link that opens the console once, as this key
    SIGNED_IN = "signed in"  #: somebody opened the console with this key
    SIGNED_OUT = "signed out"
    ENDPOINT_ADDED = "endpoint added"
    ENDPOINT_ROTATED = "endpoint rotated"  #: it has a new secret
    ENDPOINT_PAUSED = "endpoint paused"
    ENDPOINT_RESUMED = "endpoint resumed"
    ENDPOINT_TESTED = "endpoint tested"  #: a test event is to be sent there
    REGISTERED = "registered"  #: a case is new
    ASKED = "asked"  #: a question about a case is new
    WITHDRAWN = "withdrawn"  #: a case's image or order is void
    CLOSED = "closed"  #: a case was signed out
    IMAGE_OF_CLOSED = "image of a closed case"
    PATIENT_UPDATED = "patient updated"
    PATIENT_MERGED = "patient merged"
    ACCESSION_MERGED = "accession merged"
    QUESTIONS_MOVED = "questions moved here"


#: how a job's end is written down
END_OF: Final = {
    Status.SUCCEEDED: Action.FINISHED,
    Status.FAILED: Action.FAILED,
    Status.CANCELLED: Action.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row, as people are shown it."""

    #: its place in the chain; None until it is chained
    seq: int | None
    id: str
    at: datetime
    actor: str
    action: str
    job_id: str | None
    case_id: str | None
    delivery_id: str | None
    message_id: str | None
    #: the endpoint, the key, the review or the other job it is about
    subject_id: str | None
    attempt: int | None
    #: an error's code, or why a delivery was given up
    code: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of the chain at some time. Kept elsewhere, it is an anchor."""

    seq: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Raises ValueError."""
        found = _HEAD.fullmatch(text.strip())
        if found is None:
            raise ValueError("not SEQ:DIGEST")
        return cls(int(found[1]), bytes.fromhex(found[2]))


#: before the first row
START: Final = Head(0, bytes(32))


def digest_of(previous: bytes, seq: int, columns: Sequence[Any]) -> bytes:
    """SHA-256 of the digest before it and of this row, whatever stands in its columns.

    The row is a JSON array in ASCII without spaces: seq, then COLUMNS; `at` is `YYYY-MM-DD HH:MM:SS.ffffff`
    in UTC, bytes are in hexadecimal.
    """
    values = [seq, *(value.hex() if isinstance(value, bytes) else value for value in columns)]
    return hashlib.sha256(previous + _encoded(values).encode()).digest()
