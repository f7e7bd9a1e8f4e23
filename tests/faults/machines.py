"""Several machines on one switch: network namespaces whose cables can be pulled.

In: root, Linux and iproute2. Out: a server machine with two addresses and as many hosts as are asked for, on a
network of their own that leads nowhere else; commands that run there. A cable that is pulled says nothing: no
RST, no FIN, packets are gone. Names begin with `plm` and the process id, so that what a killed run left behind
is found and removed by the next.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

PREFIX = "plm"
NETWORK = "10.213.7."
#: of the server machine: one for the broker, one for the database, so that each can be cut off alone
BROKER, DATABASE = f"{NETWORK}1", f"{NETWORK}2"
SERVER = "server"

_OURS = re.compile(rf"{PREFIX}(\d+)-\S+")


@dataclass(slots=True, kw_only=True)
class Machines:
    #: several sets of machines may be on at once
    number: int = field(default_factory=count().__next__)
    #: host name -> its address
    addresses: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def switched_on(self) -> Iterator[Machines]:
        """With the switch and the server machine; hosts are added inside. Raises CalledProcessError."""
        remove_stale()
        try:
            self._new("switch")
            self._in("switch", "link add br0 type bridge", "link set br0 up")
            self._plug(SERVER, BROKER, DATABASE)
            yield self
        finally:
            for name in _namespaces():
                if name.startswith(self._name("")):
                    _remove(name)

    def add(self, host: str) -> None:
        address = f"{NETWORK}{10 + len(self.addresses)}"
        self.addresses[host] = address
        self._plug(host, address)

    def on(self, machine: str, command: Sequence[str]) -> list[str]:
        """That command, as it is run on that machine, under its host name and the same process id."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', machine]
        return ["ip", "netns", "exec", self._name(machine), *named, *command]

    def cut(self, host: str, *servers: str) -> None:
        """From those addresses of the server, or without any from everything."""
        if not servers:
            self._in("switch", f"link set to-{host} down")
        for address in servers:
            # What the server answers is lost on the way; the host cannot know.
            self._in(SERVER, f"rule add from {address} to {self.addresses[host]} blackhole")

    def heal(self, host: str) -> None:
        self._in("switch", f"link set to-{host} up")
        for address in (BROKER, DATABASE):
            with suppress(subprocess.CalledProcessError):
                self._in(SERVER, f"rule del from {address} to {self.addresses[host]}")

    def _name(self, machine: str) -> str:
        return f"{PREFIX}{os.getpid()}-{self.number}-{machine}"

    def _plug(self, machine: str, *addresses: str) -> None:
        self._new(machine)
        self._in("switch", f"link add to-{machine} type veth peer name eth0 netns {self._name(machine)}")
        self._in("switch", f"link set to-{machine} master br0 up")
        for address in addresses:
            self._in(machine, f"addr add {address}/24 dev eth0")
        self._in(machine, "link set eth0 up")

    def _new(self, machine: str) -> None:
        _ip("netns", "add", self._name(machine))
        self._in(machine, "link set lo up")

    def _in(self, machine: str, *commands: str) -> None:
        for command in commands:
            _ip("-n", self._name(machine), *command.split())


def why_not() -> str:
    """Why there can be no machines here; empty when there can."""
    missing = [tool for tool in ("ip", "unshare", "hostname", "setpriv") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} for network namespaces"
    if os.geteuid() != 0:
        return "the right to make network namespaces"
    try:
        with Machines().switched_on() as machines:
            machines.add("host")
            machines.cut("host", BROKER)
    except subprocess.CalledProcessError as error:
        return f"network namespaces ({error.stderr.strip()})"
    return ""


def remove_stale() -> None:
    """What runs left behind that were killed."""
    for name in _namespaces():
        found = _OURS.fullmatch(name)
        if found and not _runs(int(found[1])):
            _remove(name)


def _namespaces() -> list[str]:
    listed = _ip("netns", "list").splitlines()
    return [line.split()[0] for line in listed if line.startswith(PREFIX)]


def _remove(name: str) -> None:
    for pid in _ip("netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _ip("netns", "del", name)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
