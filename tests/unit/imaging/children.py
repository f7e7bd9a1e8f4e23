"""What tests know of the children of a sandbox, from /proc."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from worker.imaging.sandbox import Sandbox
from worker.imaging.supply import InMemory
from worker.imaging.wanted import Limits, Seen, Wanted

LIMITS = Limits(max_pixels=4_000_000, max_bytes=16 << 20)
GOOD = np.random.default_rng(4).integers(0, 256, (30, 40, 3), np.uint8)


def png(samples: np.ndarray = GOOD) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    return file.getvalue()


def look(sandbox: Sandbox, data: bytes, **wanted: object) -> tuple[Seen, ...]:
    return sandbox.look(InMemory(data=data), Wanted(**{"number": 0, "limits": LIMITS} | wanted))


def reads_well(sandbox: Sandbox) -> bool:
    """Whether a good picture comes back right."""
    (seen,) = look(sandbox, png())
    return seen.rgb == GOOD.tobytes()


def a_child(sandbox: Sandbox) -> int:
    """The one that looks next."""
    assert reads_well(sandbox)
    return sandbox.pids()[0]


def memory(pid: int, what: str = "VmRSS") -> int:
    """In bytes (proc(5), status)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


def forget_peak(pid: int) -> None:
    """VmHWM counts from now on (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
