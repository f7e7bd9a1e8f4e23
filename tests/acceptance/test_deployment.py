"""The programs of a real deployment, started by hand against a real broker and PostgreSQL."""

import os
import signal
import subprocess
import time

import httpx
import pytest

from tests.acceptance.conftest import PATHLANE

DAB = "Immunohistochemistry with DAB"


@pytest.fixture
def environment(broker_url, database_url, tmp_path):
    with_port = {"PATHLANE_API_PORT": "8093", "PATHLANE_SLOTS": "2", "PATHLANE_SWEEP_SECONDS": "1"}
    folders = {
        "PATHLANE_UPLOADS_DIR": str(tmp_path / "uploads"),
        "PATHLANE_SLOTS_DIR": str(tmp_path / "slots"),
    }
    return (
        os.environ
        | {"PATHLANE_BROKER_URL": broker_url, "PATHLANE_DATABASE_URL": database_url}
        | folders
        | with_port
    )


@pytest.fixture
def run(environment):
    def run(*arguments):
        ended = subprocess.run(
            [*PATHLANE, *arguments], env=environment, capture_output=True, text=True, timeout=120
        )
        return ended.returncode, ended.stdout, ended.stderr

    return run


@pytest.fixture
def start(environment, tmp_path):
    started = []

    def start(name):
        with (tmp_path / f"{name}.log").open("w") as log:
            started.append(subprocess.Popen([*PATHLANE, name], env=environment, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def until(condition, seconds=150):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def answers(client, path, status=200):
    try:
        return client.get(path).status_code == status
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_gateway_and_worker_answer_a_case_and_stop_cleanly(run, start, ihc, tmp_path):
    status, _, said = run("status")
    assert status == 78
    assert "pathlane migrate" in said
    assert run("migrate")[0] == 0
    key = run("key", "add", "lis")[1].strip()
    gateway, worker = start("gateway"), start("worker")
    ihc.save(tmp_path / "a.png")
    with httpx.Client(
        base_url="http://127.0.0.1:8093", headers={"authorization": f"Bearer {key}"}, trust_env=False
    ) as client:
        until(lambda: answers(client, "/readyz"))
        reference = client.post("/v1/uploads", content=(tmp_path / "a.png").read_bytes()).json()["reference"]
        body = {
            "images": [{"reference": reference}],
            "question": "Which stain is shown?",
            "options": ["No tissue", DAB],
        }
        job_id = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
        until(lambda: client.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded")
        assert client.get(f"/v1/jobs/{job_id}").json()["reading"]["answer"] == f"B. {DAB}"
    assert run("doctor")[0] == 0
    for process in (worker, gateway):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
