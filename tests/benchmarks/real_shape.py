"""`make bench-real`: a step of the product's engine at Patho-R1-3B's shape, beside what memory allows.

Qwen2.5-VL-3B's configuration with random weights in bfloat16: 3.75 billion parameters, about 8 GB, and the pool. One
prefill of an image and a question, then decode steps at several numbers of rows, by the product's own decoder and
pool. Beside them the bytes that a step must read and the bandwidth of this machine, measured in the same run. Random
weights say nothing about answers, and nothing here needs any.

    python -m tests.benchmarks.real_shape                         1, 8 and 32 rows on this machine's GPU or CPU
    python -m tests.benchmarks.real_shape --steps 3 --rows 1      whether it works
    python -m tests.benchmarks.real_shape --device cuda:0         with and without CUDA graphs
    python -m tests.benchmarks.real_shape --tiny --steps 2        a small model in its place: the program itself
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import psutil
import torch

from tests.benchmarks import bandwidth, machine
from tests.benchmarks.real_model import opening, random_model
from worker.engine import devices
from worker.engine.models.choice import Chooser, Decoding
from worker.engine.models.decoder import Decoder, Opening

NEEDED_BYTES = 12 << 30
WARM_UPS = 1
#: Qwen2.5-VL's own, for repeating itself
PENALTY = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Decode steps at one number of rows."""

    rows: int
    context: int
    graphs: bool
    #: of one step: the median
    seconds: float
    #: of all threads, where the machine is a CPU; also the median
    cpu_seconds: float
    #: that it must read at least
    bytes: int

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def main() -> int:
    given = _arguments()
    device = devices.choose(given.device)
    if device == "cpu":
        torch.set_num_threads(given.threads)
        if not given.tiny and psutil.virtual_memory().available < NEEDED_BYTES:
            print(f"Not run: it needs {NEEDED_BYTES >> 30} GiB of free memory.", file=sys.stderr)
            return 1
    facts = machine.described("tests.benchmarks.real_shape", sys.argv[1:])
    speed = bandwidth.measured(device)
    facts["reading memory"] = (
        f"{speed / 1e9:.1f} GB/s ({device}, {torch.get_num_threads()} threads for tensors)"
    )
    model = random_model(device, tiny=given.tiny)
    facts["model"] = f"{model.num_parameters() / 1e9:.3f} billion parameters, random, bfloat16"
    if not given.json:
        print(machine.printed(facts), flush=True)
    try:
        return _run(given, model, speed, facts)
    except KeyboardInterrupt:
        return 130


def _run(given: argparse.Namespace, model: Any, speed: float, facts: dict[str, str]) -> int:
    prompt = opening(model, given.image)
    decoder = _decoder(model, max(given.rows), prompt.length + given.steps + 2, graphs=False)
    seconds = prefill_seconds(decoder, prompt)
    if not given.json:
        print(f"- prefill: {prompt.length} tokens of one {given.image} x {given.image} image and question in "
              f"{seconds:.2f} s\n")  # fmt: skip
        print(
            "| rows | context | graphs | s a step | CPU s | tokens/s | GB read a step | at bandwidth, s | of bandwidth |"
        )
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
    found = []
    for step in steps(model, decoder, prompt, given.rows, given.steps):
        found.append(asdict(step) | {"tokens_per_second": step.rate, "bandwidth_share": _share(step, speed)})
        if not given.json:
            print(_line(step, speed), flush=True)
    if given.json:
        print(json.dumps({
            "machine": facts, "bytes_per_second": speed, "prefill_seconds": seconds, "prompt_tokens": prompt.length,
            "steps": found,
        }, indent=2))  # fmt: skip
    return 0


def _line(step: Step, speed: float) -> str:
    cells = [
        step.rows, step.context, "yes" if step.graphs else "no", f"{step.seconds:.4f}", f"{step.cpu_seconds:.4f}", f"{step.rate:.1f}",
        f"{step.bytes / 1e9:.2f}", f"{step.bytes / speed:.4f}", f"{100 * _share(step, speed):.0f} %",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _share(step: Step, speed: float) -> float:
    return step.bytes / step.seconds / speed


def _decoder(model: Any, rows: int, positions: int, *, graphs: bool) -> Decoder:
    return Decoder(model, rows=rows, positions=-(-positions // 64) * 64, use_graphs=graphs)


@torch.inference_mode()
def prefill_seconds(decoder: Decoder, prompt: Opening) -> float:
    began = time.perf_counter()
    decoder.prefill([prompt], 0)
    _wait(decoder)
    return time.perf_counter() - began


def steps(
    model: Any, decoder: Decoder, prompt: Opening, counts: Sequence[int], number: int
) -> Iterator[Step]:
    """On a GPU once without graphs and once with them."""
    yield from (_timed(model, decoder, prompt, rows, number, graphs=False) for rows in counts)
    if str(model.device) != "cpu":
        shape = decoder.pool.shape
        captured = _decoder(model, shape.rows, shape.positions, graphs=True)
        prefill_seconds(captured, prompt)
        yield from (_timed(model, captured, prompt, rows, number, graphs=True) for rows in counts)


@torch.inference_mode()
def _timed(model: Any, decoder: Decoder, prompt: Opening, rows: int, number: int, *, graphs: bool) -> Step:
    """Every row has the same prompt. A step chooses a token for each row and reads it, as the engine's does."""
    pool, length = decoder.pool, prompt.length
    chooser = Chooser(pool, [model.config.get_text_config().eos_token_id], PENALTY)
    for row in range(1, rows):
        pool.copy(0, row, length)
    pool.lengths[:rows] = length
    taken, spent = list[float](), list[float]()
    for step in range(WARM_UPS + number):
        began, before = time.perf_counter(), time.process_time()
        chooser.choose([Decoding()] * rows)
        decoder.decode(rows, length + step + 1)
        _wait(decoder)
        taken.append(time.perf_counter() - began)
        spent.append(time.process_time() - before)
    context = length + WARM_UPS + number
    pool.lengths[0] = length
    return Step(
        rows=rows, context=context, graphs=graphs, seconds=median(taken[WARM_UPS:]),
        cpu_seconds=median(spent[WARM_UPS:]),
        bytes=bandwidth.step_bytes(model, rows=rows, context=context),
    )  # fmt: skip


def _wait(decoder: Decoder) -> None:
    decoder.pool.logits[0, 0].item()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.real_shape", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--steps", type=int, default=10, help="timed at each number of rows (10)")
    parser.add_argument(
        "--image", type=int, default=448, help="side of the image in pixels (448: 256 tokens)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, on a CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (auto)")
    parser.add_argument("--tiny", action="store_true", help="a small model: whether the program works")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
