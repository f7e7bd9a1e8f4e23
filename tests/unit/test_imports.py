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


def test_the_client_imports_httpx_and_nothing_of_the_server():
    ask = "import sys; from integrations.client import Pathlane; print(*sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in answer.stdout.split()}
    server = {"worker", "sqlalchemy", "celery", "kombu", "fastapi", "starlette", "pydantic", "torch", "numpy"}
    assert loaded.isdisjoint(server)
    own = {name for name in answer.stdout.split() if name.startswith("integrations.")}
    assert {name.split(".")[1] for name in own} == {"client"}
    assert "httpx" in loaded
