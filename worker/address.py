"""Where outgoing requests may go: the operator's list.

In: the entries of the list; a host, a port and what the name stands for. Out: the addresses that are allowed,
or AddressRefused. It opens no connection (`worker.pinned` does) and looks nothing up.

An entry is a name (`lis.example.org`; `*.lab.example` for every name below it), an address (`10.1.2.3`) or
a network (`10.1.0.0/16`), on every port or on the one behind it (`lis.example.org:8443`, `[fd12::/48]:443`).

- What is not listed is refused; an empty list refuses everything.
- A listed name may stand for any ordinary address, private ones too: laboratories are on private networks.
- A name that is not listed is allowed where all its addresses are.
- Addresses in SPECIAL are refused unless the operator lists that very address, or a network that holds
  only addresses of that kind: a listed name does not open them, and neither does `0.0.0.0/0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

import httpx

from worker.errors import AddressRefused
from worker.settings import SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Own machine, own link, many machines, cloud metadata, and IPv6 forms that hide an IPv4 address
#: (IANA special-purpose address registries; RFC 6890 and its updates).
SPECIAL: tuple[Network, ...] = tuple(
    ip_network(block)
    for block in (
        *("0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"),
        *("169.254.0.0/16", "fe80::/10", "fec0::/10"),
        *("224.0.0.0/4", "240.0.0.0/4", "ff00::/8", "192.0.0.0/24"),
        *("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
        *(
            "::/96",
            "::ffff:0:0/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2002::/16",
            "192.88.99.0/24",
            "2001::/32",
        ),
    )
)

_ENTRY = re.compile(r"(?:\[(?P<boxed>[^\[\]]+)\]|(?P<plain>[^\[\]:]+))(?::(?P<port>\d{1,5}|\*))?")
_NAME = re.compile(r"(?:[a-z0-9_-]+\.)*[0-9]*[a-z_-][a-z0-9_-]*")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListedName:
    #: lower case, ASCII, no dot at either end
    name: str
    #: whether the entry means the names below it, and not itself
    below: bool
    #: None: any
    port: int | None

    def covers(self, host: str, port: int) -> bool:
        fits = host.endswith(f".{self.name}") if self.below else host == self.name
        return fits and self.port in (None, port)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListedNetwork:
    network: Network
    #: None: any
    port: int | None

    def covers(self, address: Address, port: int) -> bool:
        # Of two blocks that hold one address, the one with the longer prefix lies inside the other.
        return (
            address in self.network
            and self.port in (None, port)
            and all(self.network.prefixlen >= block.prefixlen for block in SPECIAL if address in block)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowList:
    """The operator's list, read once."""

    names: tuple[_ListedName, ...] = ()
    networks: tuple[_ListedNetwork, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Raises SettingsError with the number of the entry that cannot be read."""
        listed = [_read_entry(entry.strip(), number) for number, entry in enumerate(entries, start=1)]
        return cls(
            names=tuple(entry for entry in listed if isinstance(entry, _ListedName)),
            networks=tuple(entry for entry in listed if isinstance(entry, _ListedNetwork)),
        )

    def may_allow(self, host: str, port: int) -> bool:
        """Whether it is worth looking `host` up: no, where no answer could be allowed."""
        if not 0 < port <= _HIGHEST_PORT:
            return False
        return self._lists_name(host, port) or any(entry.port in (None, port) for entry in self.networks)

    def check(self, host: str, port: int, answers: Sequence[str]) -> tuple[Address, ...]:
        """The answers as addresses, all of them allowed. Raises AddressRefused if one is not."""
        named = self._lists_name(host, port)
        addresses = tuple(ip_address(answer) for answer in answers)
        if not all(self._allows(address, port, named=named) for address in addresses):
            raise AddressRefused
        return addresses

    def _lists_name(self, host: str, port: int) -> bool:
        host = host.lower().removesuffix(".")
        return any(entry.covers(host, port) for entry in self.names)

    def _allows(self, address: Address, port: int, *, named: bool) -> bool:
        if named and not any(address in block for block in SPECIAL):
            return True
        return any(entry.covers(address, port) for entry in self.networks)


def _read_entry(text: str, number: int) -> _ListedName | _ListedNetwork:
    found = _ENTRY.fullmatch(text)
    place = (found["boxed"] or found["plain"]) if found else text
    port = int(found["port"]) if found and found["port"] not in (None, "*") else None
    if port is None or 0 < port <= _HIGHEST_PORT:
        try:
            return _ListedNetwork(network=ip_network(place), port=port)
        except ValueError:
            name = _ascii(place.removeprefix("*."))
        if _NAME.fullmatch(name):
            return _ListedName(name=name, below=place.startswith("*."), port=port)
    raise SettingsError(f"entry {number} of the allow-list is not a host name, an address or a network")


def _ascii(name: str) -> str:
    """The name as it stands in a request: lower case, IDNA."""
    try:
        return httpx.URL(scheme="https", host=name).raw_host.decode("ascii").removesuffix(".")
    except httpx.InvalidURL:
        return ""
