"""`make storms`: every storm in its long form, on SQLite and on PostgreSQL, and one table.

In: names of storms (all of them without any), `--database sqlite|postgresql`, `--short`. Out: the table on
standard output, as Markdown; exit status 1 when anything was lost, doubled or otherwise wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, postgresql
from tests.faults.storms import STORMS
from tests.faults.weather import Storm, Weather, weather

HEAD = (
    "| fault | database | events | jobs | lost | duplicated | other problems | recovery p50 / p95 / max |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(slots=True, kw_only=True)
class Sky:
    """Where storms are blown, one after the other, and what came of them."""

    folder: Path
    short: bool
    calm: bool = True
    figures: list[str] = field(default_factory=list)

    def blow(self, name: str, kind: str, cluster: Cluster | None) -> None:
        """One row of the table, or the reason on standard error why there is none."""
        storm = STORMS[name]
        reason = storm.why_not() if cluster or not storm.needs_server else "a database server"
        if reason:
            print(f"{name} on {kind}: not run here without {reason}", file=sys.stderr)
            return
        try:
            seen = self._weather(storm, f"{kind}-{name}", cluster)
        except pytest.skip.Exception as skipped:
            print(f"{name} on {kind}: {skipped}", file=sys.stderr)
        except AssertionError as error:
            self.calm = False
            print(f"| {storm.fault} | {kind} | did not come to its end |", flush=True)
            print(error, file=sys.stderr)
        else:
            self._note(kind, seen)

    def _weather(self, storm: Storm, place: str, cluster: Cluster | None) -> Weather:
        folder = self.folder / place
        folder.mkdir()
        url = cluster.new() if cluster else f"sqlite:///{folder / 'pathlane.db'}"
        events = storm.short if self.short else storm.events
        return weather(storm, url, folder, events=events, crash=cluster.crash if cluster else None)

    def _note(self, kind: str, seen: Weather) -> None:
        print(_row(kind, seen), flush=True)
        self.figures += [f"- {kind}, {seen.fault}: {figure}" for figure in seen.figures]
        for problem in seen.verdict.problems[:20]:
            print(problem, file=sys.stderr)
        self.calm = self.calm and seen.verdict.holds


def main() -> int:
    arguments = _parser().parse_args()
    print(HEAD, flush=True)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="storms-")))
        sky = Sky(folder=folder, short=arguments.short)
        for kind in arguments.database or ["sqlite", "postgresql"]:
            cluster = opened.enter_context(postgresql()) if kind == "postgresql" else None
            for name in arguments.storms or STORMS:
                sky.blow(name, kind, cluster)
    print("", *sky.figures, sep="\n")
    return 0 if sky.calm else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("storms", nargs="*", choices=[[], *STORMS], metavar="STORM", help=", ".join(STORMS))
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--short", action="store_true")
    return parser


def _row(kind: str, seen: Weather) -> str:
    verdict = seen.verdict
    others = len(verdict.problems) - len(verdict.lost)
    figures = (seen.events, seen.jobs, len(verdict.lost), len(verdict.doubled), others)
    return f"| {seen.fault} | {kind} | {' | '.join(map(str, figures))} | {_recovery(seen.recoveries)} |"


def _recovery(seconds: tuple[float, ...]) -> str:
    if not seconds:
        return "-"
    at = partial(_quantile, seconds)
    return f"{at(0.5):.1f} / {at(0.95):.1f} / {seconds[-1]:.1f} s"


def _quantile(ordered: tuple[float, ...], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    sys.exit(main())
