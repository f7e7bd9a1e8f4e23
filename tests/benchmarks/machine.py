"""Machine: what figures were measured on. Nobody reads a rate without it.

In: nothing. Out: lines about processor, memory, device, versions, how busy it was, and the command.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from worker import __version__

PACKAGES = ("torch", "torchvision", "transformers", "sqlalchemy", "psycopg", "celery")


def described(module: str, arguments: list[str]) -> dict[str, str]:
    return {
        "command": shlex.join(["python", "-m", module, *arguments]),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: figures of a CPU",
        "versions": ", ".join([
            f"pathlane {__version__}", f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in PACKAGES),
        ]),
        "load before": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}, {sys.platform}",
    }  # fmt: skip


def printed(facts: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
