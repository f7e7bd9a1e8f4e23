"""Third-party HL7 programs from npm, installed once and started by tests.

`package-lock.json` pins every version with its hash. The scripts in `tests/peers` take HOST PORT FILE... (a
client, which prints the acknowledgements) or PORT (a server, which prints `{"listening": PORT}` and then
one JSON line, `{"message": ...}`, for each message).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from threading import Thread

from tests.conftest import missing

SCRIPTS = Path(__file__).with_name("peers")

CLIENTS = ("simple_hl7_client.js", "medplum_client.mjs", "node_hl7_client.js")
SERVERS = ("simple_hl7_server.js", "medplum_server.mjs")


def npm_peers(folder: Path) -> Path:
    """A folder with the scripts and their packages beside them; `folder` keeps it for the next run."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        missing("node with npm")
    pinned = b"".join(path.read_bytes() for path in sorted(SCRIPTS.iterdir()))
    ready = folder / hashlib.sha256(pinned).hexdigest()[:16]
    if ready.is_dir():
        return ready
    folder.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=folder))
    shutil.copytree(SCRIPTS, making, dirs_exist_ok=True)
    install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(install, cwd=making, capture_output=True, timeout=150).returncode != 0:
        shutil.rmtree(making)
        missing("the packages of tests/peers/package.json: `npm ci` failed, and so they")
    try:
        making.rename(ready)
    except OSError:  # another run was quicker
        shutil.rmtree(making)
    return ready


def send_with(script: Path, host: str, port: int, files: Sequence[Path]) -> str:
    """What a client script prints: one acknowledgement after the other, segments on lines of their own."""
    command = ["node", script.name, host, str(port), *map(str, files)]
    done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


@dataclass
class PeerServer:
    """A third-party HL7 server that runs, and what it has received."""

    port: int
    received: Queue[str] = field(default_factory=Queue)

    def next_message(self, seconds: float = 20) -> str:
        """The next message it printed; raises queue.Empty."""
        return self.received.get(timeout=seconds)


@contextmanager
def running_server(script: Path, port: int, *arguments: str) -> Iterator[PeerServer]:
    command = ["node", script.name, str(port), *arguments]
    process = subprocess.Popen(command, cwd=script.parent, stdout=subprocess.PIPE, text=True)
    server = PeerServer(port)
    with process:
        try:
            assert json.loads(process.stdout.readline()) == {"listening": port}
            reader = Thread(target=_read, args=(process.stdout, server.received), daemon=True)
            reader.start()
            yield server
        finally:
            process.kill()
        reader.join()


def _read(lines: Iterator[str], received: Queue[str]) -> None:
    for line in lines:
        received.put(json.loads(line)["message"])
