"""A third party's OpenID provider for tests, as a program of its own (`oidc-provider-mock`)."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest


@contextmanager
def openid_provider():
    """Gives its issuer URL. It is `localhost`, so that to a browser it is another site than 127.0.0.1."""
    pytest.importorskip("authlib", reason="oidc-provider-mock is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "oidc_provider_mock",
        "--port",
        str(port),
        "--require-nonce",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://localhost:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/.well-known/openid-configuration", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < end, "the provider does not start"
                assert process.poll() is None, "the provider has ended"
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def known(issuer: str, subject: str, **claims) -> None:
    """From now on the provider knows them, and says this of them."""
    httpx.put(f"{issuer}/users/{subject}", json=claims, trust_env=False).raise_for_status()
