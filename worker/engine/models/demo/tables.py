"""Tables: the figures of an evaluation, for a reader.

In: the figures as JSON. Out: text. It computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_text(figures: Mapping[str, Any]) -> str:
    """All tables, one below the other."""
    parts = _tiles(figures["tiles"]) if figures["tiles"]["questions"] else []
    if "photographs" in figures:
        parts += _photographs(figures["photographs"])
    return "\n".join(parts)


def _tiles(figures: Mapping[str, Any]) -> list[str]:
    lines = [f"Drawn tiles: {_percent(figures['accuracy'])} of {figures['questions']} questions", ""]
    for kind in ("by_form", "by_style", "by_stain"):
        lines += [f"  {name:<32}{_percent(share):>8}" for name, share in figures[kind].items()]
        lines.append("")
    confusion = figures["confusion"]
    names = list(next(iter(confusion.values())))
    lines.append("  " + "true, then named".ljust(32) + "".join(_short(name).rjust(10) for name in names))
    for stain, counts in confusion.items():
        lines.append("  " + stain.ljust(32) + "".join(str(counts[name]).rjust(10) for name in names))
    return [*lines, ""]


def _photographs(figures: Mapping[str, Any]) -> list[str]:
    lines = [f"Photographs: {_percent(figures['accuracy'])} of {figures['questions']} questions", ""]
    for name, about in figures["pictures"].items():
        count = f"{about['right']}/{about['questions']}"
        lines.append(f"  {name:<42}{about['stain']:<30}{count:>8}  {'; '.join(about['wrong_on'])}".rstrip())
    return lines


def _short(name: str) -> str:
    return name.split(maxsplit=1)[0][:9]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
