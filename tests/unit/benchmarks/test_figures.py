"""What the benchmark's table says of what was measured."""

from __future__ import annotations

import pytest

from tests.benchmarks.figures import HEAD, QUICKSTART, Measured, best, percentile, ratio, table


def run(engine=QUICKSTART, workload="uniform", **fields):
    values = {
        "slots": 1, "cases": 4, "tokens": 400, "seconds": 2.0, "latencies": (0.5, 0.1, 0.2, 0.4), "steps": 400,
        "cpu_seconds": 1.9,
    }  # fmt: skip
    return Measured(engine=engine, workload=workload, **values | fields)


@pytest.mark.parametrize(
    ("share", "value"),
    [
        (50, 2.0),  # the least that half of them do not pass
        (95, 4.0),
        (100, 4.0),
        (1, 1.0),
    ],
)
def test_a_percentile_is_one_of_the_values(share, value):
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == value


def test_of_twenty_the_95th_percentile_is_the_last_but_one():
    assert percentile(range(1, 21), 95) == 19


def test_nothing_has_no_percentile():
    assert percentile([], 95) is None


def test_rates_are_tokens_and_cases_over_wall_time():
    assert (run().rate, run().cases_per_hour, run().occupancy) == (200, 7200, 1.0)
    assert run(slots=8, steps=80).occupancy == 5.0


def test_a_ratio_is_to_the_same_workload():
    runs = [run(), run(workload="skewed", seconds=1.0)]
    assert ratio(run("in-flight 8", seconds=0.5), runs, QUICKSTART) == 4.0
    assert ratio(run("in-flight 8", workload="skewed", seconds=0.5), runs, QUICKSTART) == 2.0
    assert ratio(run("in-flight 8", workload="other"), runs, QUICKSTART) is None


def test_of_several_runs_the_quickest_counts():
    assert best([run(seconds=2.0), run(seconds=1.5), run(seconds=3.0)]).seconds == 1.5


def test_a_table_has_a_line_for_each_engine_under_each_workload():
    engines = [
        run(),
        run("in-flight 8", slots=8, seconds=0.5, steps=80, stat_latencies=(0.3, 0.2), same=4),
        run("whole 8, sqlite", slots=8, seconds=0.55, of="in-flight 8", others_cpu_seconds=0.7),
    ]
    lines = table([*engines, run(workload="skewed")]).splitlines()
    assert [line for line in lines if "lengths" in line] == [
        "**uniform lengths**: 4 cases, 400 tokens",
        "**skewed lengths**: 4 cases, 400 tokens",
    ]
    assert all(line.count("|") == len(HEAD) + 1 for line in lines if line.startswith("|"))
    in_flight, whole = (next(line for line in lines if line.startswith(f"| {n}")) for n in ("in-f", "whole"))
    assert in_flight == (
        "| in-flight 8 | 800 | 28800 | 0.20 | 0.50 | 5.0 of 8 | 1.9 | 4.00 |  | 0.30 | 4 / 4 |"
    )
    assert "| 1.9 + 0.7 | 3.64 | 0.91 |" in whole


def test_a_table_of_engines_without_the_quickstart_loop_has_no_ratios():
    assert "| in-flight 8 | 200 |" in table([run("in-flight 8")])
