"""The web half of a gateway, for storms that ask over HTTP.

In: an open ward. Out: an address that answers while the block lasts.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx

from tests.faults.ward import ROOT, Ward


@contextmanager
def gateway(ward: Ward) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (ward.folder / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "integrations.http_api"], cwd=ROOT, stdin=subprocess.DEVNULL,
            env=ward.environment() | {"PATHLANE_API_PORT": str(port)}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        ward.until(lambda: _answers(f"{url}/readyz"), 60)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=2, trust_env=False).is_success
    return False
