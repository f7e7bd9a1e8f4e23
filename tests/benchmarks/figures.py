"""Figures: what one run of one engine came to, and the table of all of them. Pure.

In: seconds of each case, steps, tokens. Out: percentiles, rates, ratios, lines of a Markdown table, values for JSON.
It measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

QUICKSTART = "quickstart loop"
HEAD = (
    "engine", "tokens/s", "cases/h", "p50 s", "p95 s", "rows a step", "CPU s", "x quickstart", "x engine alone",
    "STAT p95 s", "same text",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One engine over one workload."""

    workload: str
    engine: str
    #: how many cases it may have in hand at once
    slots: int
    cases: int
    tokens: int
    #: from the first case to the end of the last
    seconds: float
    #: of each case, from being taken up to its text
    latencies: tuple[float, ...]
    #: steps of the model in which answers grew
    steps: int
    #: of the process that has the model
    cpu_seconds: float
    #: of the other parts of an installation: courier, database, broker, and whoever asks and is told
    others_cpu_seconds: float = 0.0
    #: of STAT cases that came while every slot was taken and cases waited
    stat_latencies: tuple[float, ...] = ()
    #: answers that were, letter for letter, those of the quickstart loop
    same: int | None = None
    #: the name of the engine that this is the whole pipeline of
    of: str = ""
    #: CPU seconds of what the worker does around the model
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds

    @property
    def cases_per_hour(self) -> float:
        return 3600 * self.cases / self.seconds

    @property
    def occupancy(self) -> float:
        """Rows a step that wrote a token somebody wanted."""
        return self.tokens / self.steps if self.steps else 0.0

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "workload": self.workload, "engine": self.engine, "slots": self.slots, "cases": self.cases,
            "tokens": self.tokens, "seconds": self.seconds, "tokens_per_second": self.rate,
            "cases_per_hour": self.cases_per_hour, "p50_seconds": percentile(self.latencies, 50),
            "p95_seconds": percentile(self.latencies, 95), "rows_per_step": self.occupancy,
            "cpu_seconds": self.cpu_seconds, "others_cpu_seconds": self.others_cpu_seconds,
            "stat_p95_seconds": percentile(self.stat_latencies, 95), "same_text": self.same,
            "stages_cpu_seconds": dict(self.stages),
        }  # fmt: skip


def percentile(seconds: Sequence[float], share: float) -> float | None:
    """The least value that `share` per cent of them do not pass; None of none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def best(runs: Sequence[Measured]) -> Measured:
    """The quickest: on a shared machine the one that was disturbed least."""
    return min(runs, key=lambda run: run.seconds)


def ratio(one: Measured, runs: Sequence[Measured], engine: str) -> float | None:
    """How many times the rate of `engine` on the same workload; None where that was not run."""
    other = next((run for run in runs if (run.workload, run.engine) == (one.workload, engine)), None)
    return None if other is None else one.rate / other.rate


def table(runs: Sequence[Measured]) -> str:
    """One workload under the other, side by side with the quickstart loop of the same."""
    lines: list[str] = []
    for workload in dict.fromkeys(run.workload for run in runs):
        here = [run for run in runs if run.workload == workload]
        lines += ["", f"**{workload} lengths**: {here[0].cases} cases, {here[0].tokens} tokens", ""]
        lines += [_line(HEAD), _line(["---"] * len(HEAD))]
        lines += [_line(_cells(run, here)) for run in here]
        lines += ["", *(_around(run) for run in here if run.stages)]
    return "\n".join(lines)


def _cells(run: Measured, runs: Sequence[Measured]) -> list[str]:
    cpu = f"{run.cpu_seconds:.1f}" + (f" + {run.others_cpu_seconds:.1f}" if run.others_cpu_seconds else "")
    return [
        run.engine,
        f"{run.rate:.0f}",
        f"{run.cases_per_hour:.0f}",
        _number(percentile(run.latencies, 50)),
        _number(percentile(run.latencies, 95)),
        f"{run.occupancy:.1f} of {run.slots}" if run.steps else "",
        cpu,
        _number(ratio(run, runs, QUICKSTART)),
        _number(ratio(run, runs, run.of)) if run.of else "",
        _number(percentile(run.stat_latencies, 95)),
        "" if run.same is None else f"{run.same} / {run.cases}",
    ]


def _around(run: Measured) -> str:
    each = (f"{stage} {1000 * spent / run.cases:.1f}" for stage, spent in sorted(run.stages.items()))
    return f"- {run.engine}, CPU ms a case around the model: {', '.join(each)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
