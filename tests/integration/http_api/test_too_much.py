"""Too many jobs, no room on the disk, no database, no broker: what is said 2xx to is in the store, always."""

import socket
import subprocess
import threading
import time
from contextlib import suppress

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import make_url

from integrations.cli import main
from integrations.http_api.__main__ import api_of
from integrations.http_api.app import create_app
from tests.builders import a_request
from tests.integration.http_api.conftest import BODY, KEY
from tests.integration.http_api.test_api import problem
from worker.app import app, connect
from worker.settings import read_settings
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.presence import Presence, Workers
from worker.store.schema import migrate
from worker.store.session import Database

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def gateway(monkeypatch, tmp_path):
    """Starts the gateway as its program does, with these settings."""
    clients = []
    app.close()

    def start(**settings):
        given = {
            "BROKER_URL": NOBODY,
            "UPLOADS_DIR": tmp_path / "uploads",
            "UPLOADS_RESERVE_BYTES": 0,
        } | settings
        for name, value in given.items():
            monkeypatch.setenv(f"PATHLANE_{name}", str(value))
        api = api_of(read_settings())
        clients.append((TestClient(create_app(api), headers={"authorization": f"Bearer {KEY}"}), api))
        return clients[-1][0]

    yield start
    for client, api in clients:
        client.close()
        api.stores.jobs._database.close()
    app.close()


def key(database):
    Keys(database).add("lab", KEY)


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of so many KiB."""
    place = tmp_path / "small"
    place.mkdir()

    def make(kib):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("a small file system needs the right to mount one")
        return place

    yield make
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_full_queue_is_429_and_says_when_to_ask_again(gateway, database, database_url):
    key(database)
    client = gateway(DATABASE_URL=database_url, QUEUE_LIMIT=10)
    while (response := client.post("/v1/jobs", json=BODY)).status_code == 202:
        pass
    assert problem(response, 429, "queue_full")["detail"].startswith("So many jobs wait")
    assert response.headers["retry-after"] == "60"
    assert Jobs(database).depth() == {"stat": 0, "urgent": 0, "routine": 8, "running": 0}
    assert client.post("/v1/jobs", json=BODY | {"priority": "stat"}).status_code == 202


def test_an_upload_that_fills_the_disk_is_507_and_leaves_nothing(gateway, database, database_url, small_disk):
    key(database)
    folder = small_disk(256)
    client = gateway(DATABASE_URL=database_url, UPLOADS_DIR=folder / "uploads")
    response = client.post("/v1/uploads", content=(b"x" * 4096 for _ in range(100)))
    problem(response, 507, "disk_full")
    assert response.headers["retry-after"] == "60"
    assert files(folder) == []
    assert client.post("/v1/uploads", content=b"x" * 4096).status_code == 201


def test_the_reserve_is_kept_while_an_upload_comes_in(gateway, database, database_url, small_disk):
    key(database)
    folder = small_disk(256)
    client = gateway(
        DATABASE_URL=database_url, UPLOADS_DIR=folder / "uploads", UPLOADS_RESERVE_BYTES=128 * 1024
    )
    problem(client.post("/v1/uploads", content=(b"x" * 4096 for _ in range(40))), 507, "disk_full")
    assert files(folder) == []
    assert client.post("/v1/uploads", content=b"x" * 65536).status_code == 201


def test_a_database_on_a_full_disk_takes_nothing_and_keeps_what_it_took(gateway, small_disk):
    url = f"sqlite:///{small_disk(1024) / 'pathlane.db'}"
    store = Database(url)
    migrate(store)
    key(store)
    client = gateway(DATABASE_URL=url)
    accepted = []
    while (response := client.post("/v1/jobs", json=BODY | {"question": "Q" * 4000})).status_code == 202:
        accepted.append(response.json()["id"])
    problem(response, 503, "store_unavailable")
    assert response.headers["retry-after"] == "5"
    assert accepted
    jobs = Jobs(store)
    assert [jobs.get(job_id).status for job_id in accepted] == ["queued"] * len(accepted)
    assert sum(jobs.depth().values()) == len(accepted)
    store.close()


class Line:
    """A way to a database that can be cut and mended."""

    def __init__(self, url):
        self._to = url
        self._open = []
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]

    @property
    def url(self):
        over = self._to.difference_update_query(["host"]).set(host="127.0.0.1", port=self.port)
        return over.render_as_string(hide_password=False)

    def cut(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def mend(self):
        self._listener = self._listen(self.port)

    def _listen(self, port):
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener):
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = self._connected()
                self._open += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    def _connected(self):
        folder = self._to.query.get("host")
        if folder is None:
            return socket.create_connection((self._to.host, self._to.port or 5432))
        far = socket.socket(socket.AF_UNIX)
        far.connect(f"{folder}/.s.PGSQL.{self._to.port or 5432}")
        return far

    def _carry(self, source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_while_the_database_is_away_it_is_503_and_afterwards_it_goes_on(gateway, database, database_url):
    key(database)
    line = Line(make_url(database_url))
    client = gateway(DATABASE_URL=line.url)
    accepted = [client.post("/v1/jobs", json=BODY).json()["id"]]
    line.cut()
    for _ in range(3):
        response = client.post("/v1/jobs", json=BODY)
        problem(response, 503, "store_unavailable")
        assert response.headers["retry-after"] == "5"
    problem(client.post("/v1/uploads", content=b"x"), 503, "store_unavailable")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["workers"]) == (503, None)
    assert ready.json()["reasons"]["database"] == "The database did not answer."
    assert client.get("/healthz").status_code == 200
    line.mend()
    accepted.append(client.post("/v1/jobs", json=BODY).json()["id"])
    line.cut()
    assert sorted(accepted) == sorted(_ids(database))


def _ids(database):
    jobs, found = Jobs(database), []
    while (job := jobs.claim(worker_id="w", lease_seconds=30)) is not None:
        found.append(job.id)
    return found


def test_while_the_broker_is_away_jobs_are_stored(gateway, database, database_url):
    key(database)
    response = gateway(DATABASE_URL=database_url).post("/v1/jobs", json=BODY)
    assert response.status_code == 202
    assert Jobs(database).get(response.json()["id"]).status == "queued"


def test_a_submission_and_readiness_do_not_wait_for_a_broker_that_is_silent(gateway, database, database_url):
    key(database)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = gateway(DATABASE_URL=database_url, BROKER_URL=f"redis://127.0.0.1:{port}/0")
        begun = time.monotonic()
        for number in range(5):
            assert client.post("/v1/jobs", json=BODY | {"idempotency_key": str(number)}).status_code == 202
        assert time.monotonic() - begun < 2
        assert "broker" in client.get("/readyz").json()["reasons"]
        assert time.monotonic() - begun < 6


def test_readiness_names_every_reason_and_counts_workers(gateway, database, database_url, broker_url):
    client = gateway(DATABASE_URL=database_url, UPLOADS_RESERVE_BYTES=2**60)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {
        "status": "not ready",
        "reasons": {
            "broker": "The message broker did not answer.",
            "disk": "There is no room for it on the disk just now.",
        },
        "workers": 0,
    }
    worker = {"host": "h", "pid": 1, "device": "cpu", "model": "demo", "slots": 4, "running": 0}
    Workers(database).report(Presence(id="w1", **worker))
    client = gateway(DATABASE_URL=database_url, BROKER_URL=broker_url)
    connect(broker_url)
    assert client.get("/readyz").json() == {"status": "ready", "reasons": {}, "workers": 1}


def test_a_gateway_is_ready_without_workers(gateway, database, database_url, broker_url):
    response = gateway(DATABASE_URL=database_url, BROKER_URL=broker_url).get("/readyz")
    assert (response.status_code, response.json()["workers"]) == (200, 0)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("setting", [{"QUEUE_LIMIT": 1}, {"UPLOADS_RESERVE_BYTES": 2**60}])
def test_the_command_line_says_that_it_is_not_possible_now(
    database, database_url, monkeypatch, tmp_path, setting
):
    for name, value in ({"DATABASE_URL": database_url, "UPLOADS_DIR": tmp_path} | setting).items():
        monkeypatch.setenv(f"PATHLANE_{name}", str(value))
    Jobs(database).submit(a_request(), submitter="lab")
    tile = tmp_path / "tile.png"
    tile.write_bytes(b"picture")
    told = CliRunner().invoke(main, ["submit", str(tile), "--question", "Which stain is shown?"])
    assert told.exit_code == 3, told.output
    assert "just now" in told.output
    assert sum(Jobs(database).depth().values()) == 1
