"""What all tables are made with.

In: nothing. Out: their common base, and the ways to say "partial index" and "this word" so that both
databases plan with it. It knows no table.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, ColumnElement, Index, Text, literal_column, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

from worker.store.session import Instant

Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    type_annotation_map = {datetime: Instant(), str: Text(), dict[str, Any]: Json, list[str]: Json}  # noqa: RUF012


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))


def stands(column: Column[Any], word: StrEnum) -> ColumnElement[bool]:
    """`column = 'word'`, written out: a bound parameter would hide a partial index from the planner."""
    return column == literal_column(f"'{word.value}'")
