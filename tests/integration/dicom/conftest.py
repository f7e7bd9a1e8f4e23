"""A listener on a free port, an archive that writes down what came, and foreign programs that send and store."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from integrations.dicom.instance import Instance
from integrations.dicom.listener import Listener, Listening
from tests.conftest import missing
from worker import uploads

DCMTK = ("echoscu", "storescu", "storescp", "dsrdump", "dcmdump", "img2dcm")


class Remembering:
    """An archive in memory; `refuse` is raised as often as it stands there."""

    def __init__(self):
        self.instances: list[Instance] = []
        self.refuse: list[Exception] = []
        self.on_add = lambda _instance: None

    def add(self, instance):
        self.on_add(instance)
        if self.refuse:
            raise self.refuse.pop(0)
        self.instances.append(instance)


@pytest.fixture
def archive():
    return Remembering()


@pytest.fixture
def start(tmp_path, archive):
    """Starts listeners: `start(max_bytes=..., tls=...)`."""
    before, running = tempfile.tempdir, []

    def start(**more):
        settings = {
            "host": "127.0.0.1", "port": 0, "title": "PATHLANE", "callers": frozenset({"SCANNER", "STORESCU"}),
            "uploads": tmp_path / "uploads", "spool": tmp_path / "spool", "max_bytes": 4 * 1024 * 1024,
            "reserve_bytes": 1024,
        }  # fmt: skip
        settings |= more
        listener = Listener(Listening(**settings), archive)
        running.append(listener)
        return SimpleNamespace(
            listener=listener,
            host="127.0.0.1",
            port=listener.start(),
            uploads=settings["uploads"],
            spool=settings["spool"],
        )

    yield start
    for listener in running:
        listener.stop()
    tempfile.tempdir = before


@pytest.fixture
def scp(start):
    return start()


@pytest.fixture
def dcmtk(monkeypatch):
    """Found outside of the environment, where pynetdicom has put other programs under the same names."""
    own = Path(sys.executable).parent
    outside = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != own]
    monkeypatch.setenv("PATH", os.pathsep.join(outside))
    for program in DCMTK:
        if shutil.which(program) is None:
            missing("dcmtk (apt-get install dcmtk)")

    def run(*arguments):
        done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=60)
        return SimpleNamespace(code=done.returncode, text=done.stdout + done.stderr)

    return run


@pytest.fixture
def folder(tmp_path):
    """Writes files for foreign programs."""
    place = tmp_path / "files"
    place.mkdir()

    def write(*contents: bytes) -> list[Path]:
        paths = [place / f"{number}.dcm" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return paths

    return write


@pytest.fixture
def certificates(tmp_path):
    """An authority that signs itself, for localhost."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
    ]  # fmt: skip
    subprocess.run(make, check=True, capture_output=True)

    def context(purpose, *, own: bool):
        made = ssl.create_default_context(purpose, cafile=certificate)
        if own:
            made.load_cert_chain(certificate, key)
        return made

    return context


def kept(scp, instance) -> bytes:
    return uploads.path_of(scp.uploads, instance.reference).read_bytes()


def eventually(condition, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pytest_collection_modifyitems(items):
    """pynetdicom's client leaves the socket of an association that was rejected or aborted to the collector."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(autouse=True)
def _no_sockets_left_for_later_tests():
    yield
    gc.collect()
