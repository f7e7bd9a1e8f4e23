"""Orthanc in a network of its own: Debian's 1.10.1 listens on every address and has open CVEs.

It is a test peer only. What has to talk to it runs in a thread inside that network.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import missing

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HTTP, DICOM = 18042, 14242
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


@dataclass(frozen=True)
class Orthanc:
    pid: int

    def inside(self, work: Callable[[], Any]) -> Any:
        """What `work` gives, run in Orthanc's network; threads that it starts are there too."""

        def there() -> Any:
            with Path(f"/proc/{self.pid}/ns/net").open() as network:
                if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _NEW_NETWORK) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return work()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(there).result()

    def get(self, path: str) -> Any:
        return self.inside(
            lambda: httpx.get(f"http://127.0.0.1:{HTTP}{path}", trust_env=False).raise_for_status().json()
        )

    def post(self, path: str, content: bytes) -> Any:
        url = f"http://127.0.0.1:{HTTP}{path}"
        return self.inside(
            lambda: httpx.post(url, content=content, trust_env=False).raise_for_status().json()
        )


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    for program in ("Orthanc", "unshare", "ip"):
        if shutil.which(program) is None:
            missing(f"{program} (apt-get install orthanc orthanc-dicomweb iproute2)")
    if not PLUGIN.exists():
        missing("orthanc-dicomweb")
    if os.geteuid() != 0:
        missing("the right to make a network namespace")
    settings = {
        "Name": "TEST", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)], "HttpPort": HTTP, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC", "DicomPort": DICOM, "DicomAlwaysAllowStore": True, "DicomAlwaysAllowEcho": True,
        "DicomCheckCalledAet": True, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    command = ["unshare", "-n", "bash", "-c", f"ip link set lo up; exec Orthanc {folder / 'orthanc.json'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        orthanc = Orthanc(process.pid)
        _wait(orthanc, process)
        yield orthanc
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(orthanc: Orthanc, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "Orthanc did not start"
        try:
            orthanc.get("/system")
        except (httpx.HTTPError, OSError):
            time.sleep(0.1)
        else:
            return
    raise TimeoutError
