"""Readings as rows.

In: a job that ended, and its reading. Out: the row and the statement for it, and the reading again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

from sqlalchemy import Row, Table, insert

from worker.jobs.job import Job
from worker.jobs.reading import PatchRecord, Provenance, Reading, ReadingOutcome
from worker.store.session import clock
from worker.store.tables import ReadingRow

readings = cast("Table", ReadingRow.__table__)

#: for a `reading_row`; made once, so that it is compiled once
add_reading: Final = insert(readings).values(created_at=clock())


def reading_row(job: Job, reading: Reading) -> dict[str, Any]:
    patches = [_fields(patch) for patch in reading.provenance.patches]
    provenance = _fields(reading.provenance) | {"patches": patches}
    columns = _fields(reading) | {"outcome": reading.outcome.value, "provenance": provenance}
    return columns | {"job_id": job.id, "attempt": job.attempt}


def _fields(value: Any) -> dict[str, Any]:
    """Without the copies that `asdict` makes: a seventh of what it costs to end a job."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def reading_of(row: Row[Any]) -> Reading:
    columns = {name: getattr(row, name) for name in Reading.__dataclass_fields__}
    provenance = dict(row.provenance)
    patches = tuple(PatchRecord(**_tuples(patch)) for patch in provenance.pop("patches"))
    reading = Reading(**columns | {"provenance": Provenance(**provenance, patches=patches)})
    return replace(reading, outcome=ReadingOutcome(reading.outcome))


def _tuples(patch: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in patch.items()}
