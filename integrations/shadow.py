"""The shadow report: what triage would have changed, had it been live.

In: questions that were asked, with what came of them. Out: figures and rows for a table or JSON, without
names and without the words of a report. It changes nothing and tells nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

from integrations.rules.patterns import says
from integrations.triage import judge, looked_up
from worker.jobs.order import TriageClass, raised
from worker.jobs.request import Priority
from worker.store.cases import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question in the report."""

    job_id: str
    protocol: str
    question: str
    answer: str
    triage: TriageClass
    ordered: Priority
    #: what the priority would have been
    would_be: Priority
    #: whether the final report agrees; None without a report, or where the protocol does not say how
    agrees: bool | None
    #: seconds from the order to the reading
    turnaround: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    asked: int
    answered: int
    raised: int
    flagged: int
    #: of `agreed + disagreed` with a final report
    agreed: int
    disagreed: int
    #: seconds; None without a reading
    turnaround_median: float | None
    turnaround_p95: float | None
    #: (lab's own, would be) -> how often
    changes: dict[str, int]
    rows: tuple[Row, ...]

    def document(self) -> dict[str, Any]:
        return asdict(self)


def report(asked: Sequence[Asked]) -> Report:
    rows = tuple(_row(one) for one in asked)
    times = sorted(row.turnaround for row in rows if row.turnaround is not None)
    changed = [row for row in rows if row.would_be is not row.ordered]
    return Report(
        asked=len(rows),
        answered=sum(bool(row.answer) for row in rows),
        raised=len(changed),
        flagged=sum(row.triage is TriageClass.FLAG for row in rows),
        agreed=sum(row.agrees is True for row in rows),
        disagreed=sum(row.agrees is False for row in rows),
        turnaround_median=median(times) if times else None,
        turnaround_p95=_p95(times),
        changes=dict(Counter(f"{row.ordered.value} to {row.would_be.value}" for row in changed)),
        rows=rows,
    )


def _row(one: Asked) -> Row:
    triage = judge(one.question, one.reading) if one.reading else TriageClass.NOTHING
    answer = one.reading.answer if one.reading else ""
    took = one.finished_at - one.asked_at if one.finished_at and one.reading else None
    return Row(
        job_id=one.job_id or "",
        protocol=f"{one.question.protocol}/{one.question.version}",
        question=one.question.name,
        answer=answer,
        triage=triage,
        ordered=one.ordered,
        would_be=raised(one.ordered, triage),
        agrees=_agrees(one),
        turnaround=took.total_seconds() if took else None,
    )


def _agrees(one: Asked) -> bool | None:
    """Whether the report's words match what the protocol expects after this answer."""
    if not one.final_report or one.reading is None or not one.reading.answer:
        return None
    pattern = looked_up(one.question.final, one.question, one.reading)
    if pattern is None:
        return None
    return says(pattern, one.final_report)


def _p95(times: Sequence[float]) -> float | None:
    if len(times) < 2:
        return times[0] if times else None
    return quantiles(times, n=20, method="inclusive")[-1]
