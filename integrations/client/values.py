"""Values: what a caller is given. Text of the case is in no `repr`, so that a job can be logged.

In: the gateway's JSON. Out: frozen values; a field that is not known here is kept in `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Self

#: a job that is one of these stays so
ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})
_TIMES: Final = frozenset({"created_at", "due_at", "finished_at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    #: every field that this client does not know
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Raises TypeError, ValueError where it is no such document."""
        names = {one.name for one in fields(cls)} - {"extra"}
        known = {name: _value(name, document[name]) for name in names & document.keys()}
        return cls(**known, extra={name: document[name] for name in document.keys() - names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(_Document):
    """What the model said. No answer of any model is a diagnosis: `notice`."""

    #: `answered`, or why there is no answer in the text: docs/reference/events.md
    outcome: str
    answer: str = field(repr=False)
    #: the letter, where there were options and one was chosen
    choice: str | None = field(default=None, repr=False)
    reasoning: str = field(default="", repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def model(self) -> str:
        return str(self.provenance.get("model", ""))

    @property
    def notice(self) -> str:
        return str(self.provenance.get("notice", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(_Document):
    """Why a job ended without a reading."""

    code: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(_Document):
    """A request that was accepted. A key without the scope `read` is given no question and no reading."""

    id: str
    #: queued, running, succeeded, failed, cancelled
    status: str
    priority: str = "routine"
    question: str | None = field(default=None, repr=False)
    options: tuple[str, ...] = field(default=(), repr=False)
    correlation_id: str | None = field(default=None, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    attempt: int = 0
    cancel_requested: bool = False
    created_at: datetime | None = None
    due_at: datetime | None = None
    finished_at: datetime | None = None
    rerun_of: str | None = None
    error: Failure | None = None
    reading: Reading | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(_Document):
    """A job as a list shows it: `question` and `answer` are cut after 200 characters."""

    id: str
    status: str
    priority: str = "routine"
    question: str | None = field(default=None, repr=False)
    correlation_id: str | None = field(default=None, repr=False)
    created_at: datetime | None = None
    finished_at: datetime | None = None
    error_code: str | None = None
    outcome: str | None = None
    choice: str | None = field(default=None, repr=False)
    answer: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(_Document):
    id: str
    job_id: str
    #: agree, disagree, correct
    verdict: str
    reviewer: str = ""
    comment: str = field(default="", repr=False)
    corrected_answer: str | None = field(default=None, repr=False)
    created_at: datetime | None = None


def _value(name: str, given: Any) -> Any:
    if given is None:
        return None
    if name in _TIMES:
        return datetime.fromisoformat(given)
    if name == "options":
        return tuple(given)
    inner: type[Reading | Failure] | None = {"reading": Reading, "error": Failure}.get(name)
    return given if inner is None else inner.read(given)
