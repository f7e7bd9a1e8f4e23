"""Pages: how far into a list somebody has come, so that no row is skipped or comes twice.

In: positions. Out: positions. A position is made of columns that never change once a row is written; rows
that come meanwhile stand where they belong, and move no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Position:
    """Of the last row of a page."""

    created_at: datetime
    id: str
    #: of a worklist only: the priority's level as it was asked for, and when the job is due
    level: int = 0
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    #: where the next page goes on; None after the last
    end: Position | None
