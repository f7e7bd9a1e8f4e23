"""`make bench`: one run, one table: what the same cases cost in every way of running the model.

The model card's quickstart loop, static batches, the in-flight engine, whole installations (PostgreSQL and
SQLite) and a served model (`transformers serve`), over answers of uniform and of skewed lengths (16 to 256 tokens, forced), side by side. Inputs are prepared
inside the timing for every engine, or with `--inputs outside` before it for every engine (an installation cannot).

    python -m tests.benchmarks                                everything: some minutes on two quiet cores
    python -m tests.benchmarks --quick                        a tenth of it: whether it works
    python -m tests.benchmarks --only in-flight --slots 32    one engine
    python -m tests.benchmarks --only in-flight whole --database postgresql --repeat 3
    python -m tests.benchmarks --only in-flight whole --workload long --cases 64   answers of 512 to 1536 tokens
    python -m tests.benchmarks --only in-flight whole --pace 3.4 24   as if a GPU did the model's work
    python -m tests.benchmarks --json > figures.json

Answers are compared with the quickstart loop's, letter for letter. `CPU s` is of the process that has the model,
`+` that of all other parts. Latency is from when a case is taken up until its text is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import torch

from tests.benchmarks import machine
from tests.benchmarks.figures import Measured, table
from tests.benchmarks.run import ENTRIES, Plan, measured
from tests.benchmarks.whole import DATABASES
from tests.benchmarks.workload import LENGTHS
from worker import log
from worker.engine import devices

INTERRUPTED = 130


def main() -> int:
    plan, as_json = _plan()
    log.configure("benchmark", "error")
    # As the worker does for a model as small as the demonstration: two threads wait for each other.
    torch.set_num_threads(plan.threads)
    facts = machine.described("tests.benchmarks", sys.argv[1:]) | {
        "run": f"{plan.model[0]}, {plan.device}, {torch.get_num_threads()} thread(s) for tensors, inputs prepared "
        f"{plan.inputs} the timing, best of {plan.repeat}{_paced(plan)}"
    }
    if not as_json:
        print(machine.printed(facts), flush=True)
    runs, status = list[Measured](), 0
    try:
        for run in measured(plan, _progress()):
            runs.append(run)
    except KeyboardInterrupt:
        print("\nInterrupted: what was measured before follows.", file=sys.stderr)
        status = INTERRUPTED
    except (RuntimeError, TimeoutError) as error:  # a part of an installation ended, or hung
        print(f"\nStopped: {error}", file=sys.stderr)
        status = 1
    if as_json:
        print(json.dumps({"machine": facts, "runs": [run.values() for run in runs]}, indent=2))
    else:
        print(table(runs))
    return status


def _paced(plan: Plan) -> str:
    if not plan.pace:
        return ""
    step, prompt = plan.pace
    return f"; in-flight and whole at the pace of a device: {step:g} ms a step, {prompt:g} ms a prompt"


def _plan() -> tuple[Plan, bool]:
    given = _parser().parse_args()
    if given.quick:
        given.cases, given.slots, given.static, given.stat = 16, [1, 8], [8], 3
        given.database = ["sqlite"]
    plan = Plan(
        engines=given.only, workloads=given.workload, slots=given.slots, static=given.static,
        databases=given.database, cases=given.cases, stat=given.stat, inputs=given.inputs, backlog=given.backlog,
        repeat=given.repeat, threads=given.threads, model=(given.model, given.license),
        device=devices.choose(given.device), pace=given.pace,
    )  # fmt: skip
    return plan, given.json


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    what = parser.add_argument_group("what runs")
    what.add_argument("--only", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    what.add_argument("--workload", nargs="+", choices=LENGTHS, default=["uniform", "skewed"])
    what.add_argument("--slots", nargs="+", type=int, default=[1, 8, 32])
    what.add_argument("--static", nargs="+", type=int, default=[8, 32], metavar="SIZE")
    what.add_argument("--database", nargs="+", choices=DATABASES, default=list(DATABASES))
    what.add_argument("--cases", type=int, default=256, help="in each workload (256)")
    what.add_argument("--stat", type=int, default=20, help="STAT cases under a full backlog (20; 0 is none)")
    what.add_argument("--quick", action="store_true", help="16 cases, 1 and 8 slots, SQLite")
    _add_conditions(parser.add_argument_group("how"))
    return parser


def _add_conditions(how: argparse._ArgumentGroup) -> None:
    how.add_argument("--inputs", choices=["inside", "outside"], default="inside", help="of the timing")
    how.add_argument("--backlog", action="store_true", help="installations: submit before the timing")
    how.add_argument("--repeat", type=int, default=1, help="runs of each, of which the quickest counts")
    how.add_argument("--threads", type=int, default=1, help="of torch, for the engines alone (1)")
    how.add_argument("--model", default="demo", help="a folder or hub id (demo)")
    how.add_argument("--license", default="", help="that you accept for it")
    how.add_argument("--device", default="cpu", help="auto, cpu or cuda:N (cpu)")
    how.add_argument(
        "--pace", nargs=2, type=float, default=[], metavar=("STEP", "PROMPT"),
        help="milliseconds of a device that costs no core; in-flight and whole only",
    )  # fmt: skip
    how.add_argument("--json", action="store_true")


def _progress() -> Callable[[str, int, int], None]:
    """On a terminal one line that is written over; elsewhere nothing."""
    if not sys.stderr.isatty():
        return lambda _name, _done, _of: None

    def show(name: str, done: int, of: int) -> None:
        print(
            f"\r\033[K{name}: {done} of {of} cases",
            end="" if done < of else "\r\033[K",
            file=sys.stderr,
            flush=True,
        )

    return show


if __name__ == "__main__":
    sys.exit(main())
