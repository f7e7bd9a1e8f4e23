"""`make storms`: every storm in its long form, on SQLite and on PostgreSQL, and one table.

In: names of storms (all of them without any), `--database sqlite|postgresql`, `--short`. Out: the table on
standard output, as Markdown; exit status 1 when anything was lost, doubled or otherwise wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.faults.cluster import postgresql
from tests.faults.storms import STORMS
from tests.faults.weather import Storm, Weather, weather

HEAD = (
    "| fault | database | events | jobs | lost | duplicated | other problems | recovery p50 / p95 / max |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("storms", nargs="*", choices=[[], *STORMS], metavar="STORM", help=", ".join(STORMS))
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    calm = True
    figures: list[str] = []
    print(HEAD, flush=True)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="storms-")))
        for kind in arguments.database or ["sqlite", "postgresql"]:
            cluster = opened.enter_context(postgresql()) if kind == "postgresql" else None
            for name in arguments.storms or STORMS:
                storm = STORMS[name]
                if storm.needs_server and cluster is None:
                    continue
                if reason := storm.why_not():
                    print(f"{name}: not run here without {reason}", file=sys.stderr)
                    continue
                place = folder / f"{kind}-{name}"
                place.mkdir()
                url = cluster.new() if cluster else f"sqlite:///{place / 'pathlane.db'}"
                events = storm.short if arguments.short else storm.events
                seen = _blown(storm, url, place, events, cluster.crash if cluster else None)
                if seen is None:
                    continue
                print(_row(kind, seen), flush=True)
                figures += [f"- {kind}, {seen.fault}: {figure}" for figure in seen.figures]
                for problem in seen.verdict.problems[:20]:
                    print(problem, file=sys.stderr)
                calm = calm and seen.verdict.holds
    print("", *figures, sep="\n")
    return 0 if calm else 1


def _blown(
    storm: Storm, url: str, place: Path, events: int, crash: Callable[[], None] | None
) -> Weather | None:
    """None where something that the storm needs is not here."""
    try:
        return weather(storm, url, place, events=events, crash=crash)
    except pytest.skip.Exception as skipped:
        print(f"{storm.fault}: {skipped}", file=sys.stderr)
        return None


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
