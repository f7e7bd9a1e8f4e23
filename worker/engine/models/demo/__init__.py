"""The demo reasoner: a tiny Qwen2.5-VL that names the stain of a tile, and the programs that make it.

In: nothing but a seed. Out: `checkpoint/`, loaded by the same code as any other checkpoint. It is a
demonstration; nothing it says is a medical statement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

CHECKPOINT: Final = Path(__file__).parent / "checkpoint"
LICENSE: Final = "Apache-2.0"
