"""What a program does not use it does not import: the gateway answers within a second of its start."""

import subprocess
import sys

import pytest

#: each costs the gateway a tenth of a second or more, and serves workers, listeners or migrations
HEAVY = {
    "torch", "transformers", "numpy", "PIL", "pydicom", "pynetdicom", "highdicom", "wsidicom", "alembic", "httpx",
    "integrations.hl7", "integrations.dicom", "integrations.fhir", "integrations.rules", "worker.engine",
    "worker.imaging", "worker.store.sealing",
}  # fmt: skip


@pytest.mark.parametrize("program", ["integrations.http_api.__main__", "integrations.http_api.app"])
def test_the_gateway_imports_nothing_heavy(program):
    ask = f"import sys, {program}; print(*sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(answer.stdout.split())
