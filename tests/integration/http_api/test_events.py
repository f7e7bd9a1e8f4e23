"""Streams of events from a server that runs: what they tell, how they are taken up again, what they cost."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest
import uvicorn
from sqlalchemy import event

from integrations.http_api.__main__ import Server
from integrations.http_api.app import create_app
from integrations.http_api.feed import Feed
from tests.builders import a_reading, a_request
from tests.conftest import ROOT
from tests.integration.http_api.conftest import KEY, an_api
from worker.errors import StoreUnavailable, TooManyListeners
from worker.jobs.audit import Action
from worker.jobs.job import Status
from worker.jobs.request import Priority
from worker.store.changes import Change
from worker.store.keys import Keys

HEADERS = {"authorization": f"Bearer {KEY}"}
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@contextmanager
def serving(api):
    config = uvicorn.Config(create_app(api), port=0, log_config=None, timeout_graceful_shutdown=5)
    server = Server(config, api.feed)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def api(database, tmp_path):
    Keys(database).add("lab", KEY)
    return an_api(database, tmp_path / "uploads", stream_seconds=30)


@pytest.fixture
def url(api):
    with serving(api) as url:
        yield url


@contextmanager
def stream(url, path="/v1/events", last=None):
    """Gives events as (id, name, data), as they come."""
    headers = HEADERS | ({"last-event-id": last} if last else {})
    with (
        httpx.Client(timeout=20, trust_env=False) as client,
        client.stream("GET", url + path, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events(response.iter_lines())


def events(lines):
    fields = {}
    for line in lines:
        if not line and "data" in fields:
            yield fields.get("id"), fields["event"], json.loads(fields["data"])
        if not line:
            fields = {}
            continue
        name, _, value = line.partition(": ")
        fields[name] = value


def submit(api, **fields):
    return api.stores.jobs.submit(a_request(**fields), submitter="lab").job.id


def finish(api):
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())


def test_the_worklist_hears_of_every_change_and_of_nothing_else(api, url):
    with stream(url) as heard:
        job_id = submit(api, priority="stat", question="Is Ms Canary well?")
        finish(api)
        found = [next(heard) for _ in range(3)]
    assert [(data["id"], data["status"], data["change"]) for _, _, data in found] == [
        (job_id, "queued", "submitted"), (job_id, "running", "claimed"), (job_id, "succeeded", "finished"),
    ]  # fmt: skip
    assert {data["priority"] for _, _, data in found} == {"stat"}
    assert {tuple(sorted(data)) for _, _, data in found} == {
        ("at", "attempt", "change", "id", "priority", "status")
    }, "no text of a case"


def test_what_was_there_before_is_no_news(api, url):
    submit(api)
    with stream(url) as heard:
        later = submit(api)
        assert next(heard)[2]["id"] == later


def test_whoever_comes_back_misses_nothing(api, url):
    with stream(url) as heard, stream(url):
        first = submit(api)
        last, _, data = next(heard)
        assert data["id"] == first
        others = [submit(api) for _ in range(3)]
        assert [next(heard)[2]["id"] for _ in others] == others
        with stream(url, last=last) as again:
            assert [next(again)[2]["id"] for _ in others] == others, "from what the process remembers"


def test_a_new_process_takes_up_where_another_ended(api, url, database, tmp_path):
    with stream(url) as heard:
        submit(api)
        last, _, _ = next(heard)
    others = [submit(api) for _ in range(2)]
    with serving(an_api(database, tmp_path)) as another, stream(another, last=last) as again:
        assert {next(again)[2]["id"] for _ in others} == set(others)


def test_whoever_was_away_too_long_is_told_to_look_anew(api, url):
    with stream(url, last="audit_forgotten") as heard:
        assert next(heard)[1:] == ("reset", {})
        job_id = submit(api)
        assert next(heard)[2]["id"] == job_id


def test_a_jobs_own_stream_tells_how_it_stands_and_ends_with_it(api, url):
    job_id = submit(api)
    with stream(url, f"/v1/jobs/{job_id}/events") as heard:
        assert next(heard)[2]["status"] == "queued"
        submit(api, priority="routine")
        finish(api)
        rest = list(heard)
    assert [data["status"] for _, _, data in rest] == ["running", "succeeded"]
    assert {data["id"] for _, _, data in rest} == {job_id}
    with stream(url, f"/v1/jobs/{job_id}/events") as heard:
        ((last, _, data),) = list(heard)
    assert data["status"] == "succeeded"
    known = httpx.get(
        f"{url}/v1/jobs/{job_id}/events", headers=HEADERS | {"last-event-id": last}, trust_env=False
    )
    assert known.status_code == 204, "do not come back"
    assert httpx.get(f"{url}/v1/jobs/job_x/events", headers=HEADERS, trust_env=False).status_code == 404


def test_a_hundred_listeners_cost_as_many_looks_as_one(api, database):
    asked = []
    event.listen(
        database.engine, "before_cursor_execute",
        lambda *a: asked.append(time.monotonic()) if "FROM audit" in a[2] else None,
    )  # fmt: skip

    async def listen():
        feed = Feed(api.stores.changes, seconds=0.1)
        listeners = [await feed.listen() for _ in range(100)]
        begun, before = time.monotonic(), len(asked)
        job_id = await asyncio.to_thread(submit, api)
        heard = await asyncio.gather(*(one.next() for one in listeners))
        await asyncio.sleep(0.5)
        looks, spent = len(asked) - before, time.monotonic() - begun
        for one in listeners:
            feed.leave(one)
        return {change.job_id for change in heard} == {job_id}, looks, spent

    all_heard, looks, spent = asyncio.run(listen())
    assert all_heard
    assert looks <= spent / 0.1 + 1


def test_nobody_listens_and_nobody_looks(api, database):
    asked = []
    event.listen(database.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))

    async def listen():
        feed = Feed(api.stores.changes, seconds=0.02)
        feed.leave(await feed.listen())
        await asyncio.sleep(0.1)
        asked.clear()
        await asyncio.sleep(0.2)
        return feed._task

    assert asyncio.run(listen()) is None
    assert asked == []


class Script:
    """A store that gives what a test says."""

    def __init__(self, *looks):
        self.looks = [[], *looks]

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC)

    def since(self, at, *, limit, job_id=""):
        found = self.looks.pop(0) if self.looks else []
        if isinstance(found, Exception):
            raise found
        return found

    def after(self, change_id, *, limit, job_id="", overlap_seconds):
        return None


def a_change(number):
    return Change(
        id=f"audit_{number}", at=datetime(2026, 1, 1, tzinfo=UTC), job_id=f"job_{number}",
        action=Action.SUBMITTED, status=Status.QUEUED, priority=Priority.ROUTINE, attempt=0,
    )  # fmt: skip


def test_one_that_is_too_slow_is_let_go_and_holds_up_nobody(database_url):
    changes = [a_change(number) for number in range(10)]

    async def listen():
        feed = Feed(Script(changes[:4], changes[4:7], changes[7:]), seconds=0.02, waiting=5)
        slow, quick = await feed.listen(), await feed.listen()
        heard = [await quick.next() for _ in range(10)]
        return heard, [await slow.next() for _ in range(6)]

    quick, slow = asyncio.run(listen())
    assert quick == changes
    assert slow == [*changes[:5], None], "what had come for it, and then the end"


def test_a_database_that_is_away_for_a_while_ends_no_stream(database_url):
    async def listen():
        feed = Feed(Script(StoreUnavailable(), RuntimeError("x"), [a_change(1)]), seconds=0.02)
        return await asyncio.wait_for((await feed.listen()).next(), 5)

    assert asyncio.run(listen()).id == "audit_1"


def test_more_listeners_than_are_allowed_are_refused(database_url):
    async def listen():
        feed = Feed(Script(), listeners=1)
        one = await feed.listen()
        with pytest.raises(TooManyListeners):
            await feed.listen()
        feed.leave(one)
        await feed.listen()

    asyncio.run(listen())


def test_a_stream_lasts_only_so_long(database, tmp_path):
    Keys(database).add("lab", KEY)
    with serving(an_api(database, tmp_path, stream_seconds=0.2)) as url, stream(url) as heard:
        begun = time.monotonic()
        assert list(heard) == []
        assert time.monotonic() - begun < 5


def test_a_gateway_with_open_streams_ends_at_once(database, database_url, tmp_path):
    """The program itself, since it waits for connections before it ends."""
    Keys(database).add("lab", KEY)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATHLANE_DATABASE_URL": database_url, "PATHLANE_BROKER_URL": "redis://127.0.0.1:1/0",
        "PATHLANE_API_PORT": str(port), "PATHLANE_UPLOADS_DIR": str(tmp_path / "uploads"),
        "PATHLANE_UPLOADS_RESERVE_BYTES": "0", "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "integrations.http_api"], cwd=ROOT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                httpx.get(f"{url}/healthz", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        with stream(url) as heard:
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert list(heard) == [], "the stream is ended, not broken off"
        assert process.wait(30) in (0, -signal.SIGTERM)
        assert time.monotonic() - begun < 15
    finally:
        process.kill()
        process.wait()
