"""Figures: what the answers to many questions come to.

In: one `Scored` a question. Out: shares and counts, ready for JSON. It asks no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from worker.engine.models.demo.questions import Form
from worker.engine.models.demo.tiles import Stain
from worker.jobs.request import Style

#: an answer that names none of the four stains
UNREADABLE: Final = "neither"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One question and what came of it."""

    stain: Stain
    form: Form
    style: Style
    #: the stain that was named, or `neither`
    named: str
    right: bool
    #: the picture and its variant; empty for a drawn tile
    picture: str = ""
    variant: str = ""


def accuracy(scored: Sequence[Scored]) -> float | None:
    """Share of the questions with exactly the right answer, letter and words; None without questions."""
    return sum(each.right for each in scored) / len(scored) if scored else None


def confusion(scored: Sequence[Scored]) -> dict[str, dict[str, int]]:
    """True stain -> stain named -> how often, with or without options."""
    table = {stain.value: dict.fromkeys([*(each.value for each in Stain), UNREADABLE], 0) for stain in Stain}
    for each in scored:
        table[each.stain.value][each.named] += 1
    return table


def of_tiles(scored: Sequence[Scored]) -> dict[str, Any]:
    """Everything about drawn tiles, as JSON."""
    return {
        "questions": len(scored),
        "accuracy": accuracy(scored),
        "by_form": _by(Form, scored, lambda each: each.form),
        "by_style": _by(Style, scored, lambda each: each.style),
        "by_stain": _by(Stain, scored, lambda each: each.stain),
        "confusion": confusion(scored),
    }


def of_photographs(scored: Sequence[Scored]) -> dict[str, Any]:
    """Everything about photographs, as JSON: how often right on each picture, and where not."""
    pictures = {}
    for name in dict.fromkeys(each.picture for each in scored):
        about = [each for each in scored if each.picture == name]
        pictures[name] = {
            "stain": about[0].stain.value,
            "questions": len(about),
            "right": sum(each.right for each in about),
            "wrong_on": sorted({f"{each.variant}: {each.named}" for each in about if not each.right}),
        }
    return {"questions": len(scored), "accuracy": accuracy(scored), "pictures": pictures}


def _by(
    kinds: Iterable[StrEnum], scored: Sequence[Scored], kind: Callable[[Scored], StrEnum]
) -> dict[str, float | None]:
    return {each.value: accuracy([one for one in scored if kind(one) is each]) for each in kinds}
