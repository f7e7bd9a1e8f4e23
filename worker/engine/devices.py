"""Devices: which one to run on, and a name for it that is the same in every process and container.

In: the setting `auto`, `cpu` or `cuda:N`. Out: a torch device name; a key for the slot files; what is
there. It knows no model. torch is imported inside: who names the CPU, or a server, does not pay for it.
"""

from __future__ import annotations

import re
from typing import Final

from worker.errors import ModelUnavailable

_CUDA: Final = re.compile(r"^cuda(?::(\d+))?$")


def choose(device: str) -> str:
    """`cpu` or `cuda:N`. Raises ModelUnavailable where there is no such device."""
    if device == "cpu":
        return device
    found = visible()
    if device == "auto":
        return found[0]
    match = _CUDA.match(device)
    if match is None:
        raise ModelUnavailable("Set PATHLANE_DEVICE to `auto`, `cpu` or `cuda:N`.")
    name = f"cuda:{int(match[1] or 0)}"
    if name not in found:
        raise ModelUnavailable(f"There is no {name} here: set PATHLANE_DEVICE to one of {', '.join(found)}.")
    return name


def visible() -> tuple[str, ...]:
    """The devices worth a worker each: every CUDA device, or the CPU where there is none."""
    import torch  # noqa: PLC0415

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)


def key_of(device: str) -> str:
    """`GPU-<uuid>` of a CUDA device, whose number depends on CUDA_VISIBLE_DEVICES; else its name."""
    if _CUDA.match(device) is None:
        return device
    import torch  # noqa: PLC0415

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
