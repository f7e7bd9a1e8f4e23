"""The hosts of object stores: names are looked up and checked here, and only checked addresses are given on.

In: the operator's list. Out: a resolver for aiohttp, which S3's library connects with (the extra `stores`).
An address that is written as such is not looked up, so `check_endpoint` checks that one.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from worker.address import AllowList
from worker.errors import AddressRefused
from worker.pinned import Resolver, system_resolver


def check_endpoint(url: str, allow: AllowList, *, plain_http: bool) -> None:
    """Raises AddressRefused. An empty one is Amazon's, whose names the resolver checks."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise AddressRefused from None
    if parts.scheme not in ("https", "http") or (parts.scheme == "http" and not plain_http):
        raise AddressRefused("Only https is allowed.")
    try:
        address = str(ip_address(host))
    except ValueError:
        return
    allow.check(host, port, (address,))


class CheckedResolver(AbstractResolver):
    def __init__(self, allow: AllowList, look_up: Resolver = system_resolver) -> None:
        self._allow = allow
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises AddressRefused, OSError."""
        del family
        if not self._allow.may_allow(host, port):
            raise AddressRefused
        answers = await asyncio.get_running_loop().run_in_executor(None, self._look_up, host, port)
        return [
            ResolveResult(
                hostname=host, host=str(address), port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
            )
            for address in self._allow.check(host, port, answers)
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is kept open."""
