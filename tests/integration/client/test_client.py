"""Both clients against a gateway over a real store, on real sockets."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

from integrations.client import AsyncPathlane, Pathlane, Refused, Unavailable, WaitTimeout
from tests.builders import a_reading
from tests.integration.http_api.conftest import KEY, an_api
from tests.integration.http_api.test_events import serving
from worker.jobs.scope import Scope
from worker.store.keys import Keys

QUESTION = "Which stain is shown?"


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path / 'pathlane.db'}"


@pytest.fixture
def api(database, tmp_path):
    Keys(database).add("lab", KEY)
    return an_api(database, tmp_path / "uploads", stream_seconds=30, max_upload_bytes=1_000_000)


@pytest.fixture
def url(api):
    with serving(api) as url:
        yield url


class Awaited:
    """AsyncPathlane, each method awaited: so that one test says it of both."""

    def __init__(self, *arguments, **named):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncPathlane(*arguments, **named)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def list(self, **filters):
        async def all_of_them():
            return [one async for one in self._client.list(**filters)]

        return self._loop.run_until_complete(all_of_them())

    def __getattr__(self, name):
        return lambda *given, **named: self._loop.run_until_complete(
            getattr(self._client, name)(*given, **named)
        )


@pytest.fixture(params=[Pathlane, Awaited], ids=["sync", "async"])
def connect(request):
    return request.param


@pytest.fixture
def pathlane(connect, url):
    with connect(url, KEY) as pathlane:
        yield pathlane


def finish(api):
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())


def test_a_file_is_uploaded_as_its_bytes_are_and_becomes_a_job(pathlane, api, tmp_path):
    content = bytes(range(256)) * 3000
    (tmp_path / "a.png").write_bytes(content)
    assert pathlane.upload(tmp_path / "a.png") == pathlane.upload(content)
    job = pathlane.submit(
        tmp_path / "a.png", QUESTION, priority="stat", labels={"block": "A1"}, correlation_id="c-1"
    )
    stored = api.stores.jobs.get(job.id)
    assert (job.status, job.priority, job.labels) == ("queued", "stat", {"block": "A1"})
    assert [image.reference for image in stored.request.images] == [pathlane.upload(content)]
    assert stored.request.idempotency_key


def test_a_wait_hears_the_end_within_a_moment(pathlane, api):
    job = pathlane.submit(b"PNG", QUESTION)
    timer = threading.Timer(1.5, finish, [api])
    timer.start()
    began = time.monotonic()
    ended = pathlane.wait(job, timeout=60)
    timer.join()
    assert (ended.status, ended.reading.answer, ended.reading.choice) == ("succeeded", "B. DAB", "B")
    assert ended.reading.model == "demo"
    assert "not a medical statement" in ended.reading.notice
    assert 1.4 < time.monotonic() - began < 15


def test_a_short_wait_looks_and_ends_in_time(pathlane, api):
    job = pathlane.submit(b"PNG", QUESTION)
    with pytest.raises(WaitTimeout):
        pathlane.wait(job, timeout=0.6)
    finish(api)
    assert pathlane.wait(job.id, timeout=0).has_ended


def test_a_list_gives_every_job_once_across_pages(pathlane):
    asked = [pathlane.submit("file:/a.png", QUESTION, correlation_id=f"c-{n % 2}").id for n in range(7)]
    assert [one.id for one in pathlane.list(limit=3)] == asked[::-1]
    assert [one.id for one in pathlane.list(limit=2, correlation_id="c-1")] == asked[1::2][::-1]
    assert [*pathlane.list(labels={"block": "Z9"})] == []


def test_cancel_rerun_and_review(pathlane, api):
    taken_back = pathlane.cancel(pathlane.submit("file:/a.png", QUESTION))
    assert taken_back.status == "cancelled"
    again = pathlane.rerun(taken_back)
    assert again.rerun_of == taken_back.id
    assert again.id != taken_back.id
    assert (
        pathlane.rerun(taken_back, idempotency_key="k").id
        == pathlane.rerun(taken_back, idempotency_key="k").id
    )
    with pytest.raises(Refused, match="no_reading"):
        pathlane.review(taken_back, "agree")
    finish(api)
    reviewed = next(one for one in pathlane.list(status=["succeeded"]))
    assert pathlane.review(reviewed, "agree").verdict == "agree"
    review = pathlane.review(reviewed, "correct", comment="No tissue here.", corrected_answer="No tissue")
    assert (review.job_id, review.corrected_answer) == (reviewed.id, "No tissue")


def test_refusals_say_their_code(pathlane, connect, url, api):
    with pytest.raises(Refused) as caught:
        pathlane.submit([], QUESTION)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 422)
    assert caught.value.problems[0][0] == "images"
    with pytest.raises(Refused, match="not_found"):
        pathlane.get("job_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    pathlane.submit("file:/a.png", "One?", idempotency_key="k")
    with pytest.raises(Refused, match="idempotency_conflict"):
        pathlane.submit("file:/a.png", "Another?", idempotency_key="k")
    with connect(url, "pl_unknown") as stranger, pytest.raises(Refused, match="not_allowed"):
        stranger.get("job_1")
    api.stores.keys.add("narrow", "pl_narrow", scopes=[Scope.SUBMIT])
    with connect(url, "pl_narrow") as narrow:
        assert narrow.cancel(narrow.submit("file:/a.png", QUESTION)).question is None
        with pytest.raises(Refused, match="scope_missing"):
            narrow.wait("job_1")


def test_a_gateway_that_is_not_there_is_unavailable(connect):
    with (
        connect("http://127.0.0.1:9", KEY, tries=2) as pathlane,
        pytest.raises(Unavailable, match="no_answer"),
    ):
        pathlane.get("job_1")


def test_a_file_that_is_too_large_is_refused_and_not_sent_again(pathlane, tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(Refused) as caught:
        pathlane.upload(tmp_path / "big")
    assert caught.value.status == 413


def test_the_callers_own_transport_is_used_and_left_open(url):
    with httpx.Client(headers={"x-site": "a"}) as own:
        with Pathlane(url, KEY, http=own) as pathlane:
            assert [*pathlane.list()] == []
        assert not own.is_closed
