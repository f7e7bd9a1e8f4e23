"""The programs of the demo reasoner: train it, evaluate it, draw tiles.

In: a command line. Out: a checkpoint, tables, or pictures. `draw` needs no torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from worker.engine.models.demo import CHECKPOINT
from worker.engine.models.demo.tiles import Stain, draw_tile

_EXAMPLES = """examples:
  python -m worker.engine.models.demo draw --out tiles --count 12 --seed 1
  python -m worker.engine.models.demo evaluate --count 200
  python -m worker.engine.models.demo evaluate --photographs pictures --json
  python -m worker.engine.models.demo train --seed 0 --out checkpoint
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker.engine.models.demo",
        description="A tiny Qwen2.5-VL that names the stain of a tile. A demonstration, nothing medical.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_draw(commands)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="make a checkpoint from a seed")
    train.add_argument("--seed", type=int, default=0, help="everything follows from it (default: 0)")
    train.add_argument("--steps", type=int, help="optimiser steps (default: as in the committed one)")
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the checkpoint")
    train.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="print how often a checkpoint is right")
    evaluate.add_argument(
        "--checkpoint", type=Path, default=CHECKPOINT, metavar="DIR", help="default: the bundled one"
    )
    evaluate.add_argument("--count", type=int, default=200, help="tiles, eight questions each (default: 200)")
    evaluate.add_argument("--seed", type=int, default=1000, help="of the tiles and questions (default: 1000)")
    evaluate.add_argument(
        "--photographs",
        type=Path,
        metavar="DIR",
        help="folder with real pictures: public ones by name, others by a labels.json beside them",
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    evaluate.set_defaults(run=_evaluate)


def _add_draw(commands: Any) -> None:
    draw = commands.add_parser("draw", help="write drawn tiles as PNG, with labels.json")
    draw.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    draw.add_argument("--count", type=int, default=16, help="how many (default: 16)")
    draw.add_argument("--seed", type=int, default=0, help="the same seed draws the same tiles (default: 0)")
    draw.add_argument("--size", type=int, default=224, help="width and height in pixels (default: 224)")
    draw.set_defaults(run=_draw)


def _train(options: argparse.Namespace) -> int:
    from worker.engine.models.demo.train import Recipe, train  # noqa: PLC0415  torch is loaded only where it is used

    recipe = (
        Recipe(seed=options.seed) if options.steps is None else Recipe(seed=options.seed, steps=options.steps)
    )
    train(recipe, options.out)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from worker.engine.models.demo import evaluate, figures, tables  # noqa: PLC0415  torch is loaded only where it is used
    from worker.engine.models.demo.answering import Answerer  # noqa: PLC0415

    answerer = Answerer(options.checkpoint)
    scored = evaluate.score_tiles(answerer, options.count, options.seed)
    found = {"tiles": figures.of_tiles(scored)}
    if options.photographs is not None:
        scored = evaluate.score_photographs(answerer, options.photographs, options.seed)
        found["photographs"] = figures.of_photographs(scored)
    print(json.dumps(found, indent=2) if options.json else tables.as_text(found))
    return 0


def _draw(options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    labels = {}
    for number in range(options.count):
        stain = list(Stain)[number % len(Stain)]
        tile = draw_tile(np.random.default_rng([options.seed, number]), options.size, options.size, stain)
        name = f"tile-{number:04}.png"
        Image.fromarray(tile.pixels).save(options.out / name)
        labels[name] = stain.value
    (options.out / "labels.json").write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
    print(f"{options.count} tiles and labels.json in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
