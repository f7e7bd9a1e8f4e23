"""`transformers serve`: a third party's server that speaks the OpenAI protocol, with images, and installs anywhere.

In: names and checkpoints. Out: its base URL, while it runs. It reads one request at a time.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx

COMMIT = "0" * 40
READY_SECONDS = 300


def is_installed() -> bool:
    return find_spec("openai") is not None and find_spec("accelerate") is not None


@contextmanager
def serving(checkpoints: Mapping[str, Path], *, threads: int = 1) -> Iterator[str]:
    """By their names, such as `pathlane/demo`."""
    with tempfile.TemporaryDirectory(prefix="pathlane-hub-") as folder:
        hub = Path(folder)
        for name, checkpoint in checkpoints.items():
            _put(hub, name, checkpoint)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (hub / "log").open("w") as log:
            server = subprocess.Popen(_command(port), env=_environment(hub, threads), stdout=log, stderr=log)
        try:
            _until_up(server, f"http://127.0.0.1:{port}", hub / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()
            server.wait()


def _put(hub: Path, name: str, checkpoint: Path) -> None:
    """As the hub's cache keeps a model, so that the server lists it."""
    kept = hub / f"models--{name.replace('/', '--')}"
    (kept / "snapshots").mkdir(parents=True)
    (kept / "snapshots" / COMMIT).symlink_to(checkpoint)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)


def _command(port: int) -> list[str]:
    program = Path(sys.executable).with_name("transformers")
    return [str(program), "serve", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]


def _environment(hub: Path, threads: int) -> dict[str, str]:
    offline = {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return dict(os.environ) | offline | {"OMP_NUM_THREADS": str(threads)}


def _until_up(server: subprocess.Popen[bytes], root: str, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(log.read_text())
        try:
            httpx.get(f"{root}/health", trust_env=False, timeout=20).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(log.read_text())
