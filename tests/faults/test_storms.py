"""The storms in their short form; the long one is `make storms`."""

import base64
import json
import time
from dataclasses import replace
from functools import partial

import pytest
import redis

from tests.faults import plain_celery
from tests.faults.invariants import check
from tests.faults.storms import STORMS
from tests.faults.urgent import stat_behind_routine
from tests.faults.ward import Ward
from tests.faults.weather import weather
from worker.jobs.job import ATTEMPTS_ALLOWED

pytestmark = pytest.mark.storm


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'pathlane.db'}"


@pytest.fixture
def blow(tmp_path):
    def blow(name, url):
        return weather(STORMS[name], url, tmp_path / "ward", events=STORMS[name].short)

    return blow


def calm(seen):
    assert seen.verdict.holds, seen.verdict.problems[:5]
    return seen


def test_no_job_is_lost_or_doubled_when_workers_are_killed(blow, database_url):
    seen = calm(blow("worker", database_url))
    assert seen.events >= STORMS["worker"].short
    assert seen.jobs > 20


def test_the_demonstration_model_itself_may_be_killed(tmp_path, sqlite_url):
    pytest.importorskip("torch")
    ward = Ward(url=sqlite_url, folder=tmp_path, slots=2, lease=5, module="worker")
    with ward.open():
        for _ in range(6):
            ward.submit(ward.request())
        ward.until(lambda: ward.count("jobs", "status = 'running'"), 60)
        ward.kill(ward.worker(0))
        ward.settle(90)
        assert ward.verdict().holds, ward.verdict().problems[:5]


@pytest.mark.parametrize("point", ["claimed", "ending", "ended"])
def test_no_job_is_lost_or_doubled_when_a_worker_dies_at_a_named_point(blow, sqlite_url, point):
    assert calm(blow(point, sqlite_url)).events >= STORMS[point].short


def test_a_worker_that_slept_past_its_lease_changes_nothing(blow, sqlite_url):
    seen = calm(blow("paused", sqlite_url))
    assert seen.most_attempts > 1, "no lease ran out: nothing was put to the test"
    assert seen.lease_lost > 0, "nobody woke up too late: the fence was not put to the test"


@pytest.mark.parametrize("storm", ["broker", "flush", "broker-paused"])
def test_the_broker_may_forget_everything_or_sleep(blow, sqlite_url, storm):
    calm(blow(storm, sqlite_url))


def test_a_courier_that_is_killed_has_told_everything_in_the_end(blow, sqlite_url):
    calm(blow("courier", sqlite_url))


def test_receivers_may_be_down_slow_lying_or_gone(blow, sqlite_url):
    calm(blow("receiver", sqlite_url))


def test_a_database_that_crashes_and_recovers_has_lost_nothing(tmp_path, cluster):
    storm = STORMS["database"]
    calm(weather(storm, cluster.new(), tmp_path / "ward", events=storm.short, crash=cluster.crash))


def test_leases_go_by_the_clock_of_the_database(blow, cluster):
    seen = calm(blow("skew", cluster.new()))
    assert seen.most_attempts == 1


def test_a_rolling_restart_under_load_computes_nothing_twice(blow, sqlite_url):
    seen = calm(blow("rolling", sqlite_url))
    assert seen.exits == (0,) * STORMS["rolling"].short
    assert seen.most_attempts == 1


def test_a_poison_job_fails_after_three_attempts_and_harms_no_neighbour(blow, sqlite_url):
    seen = calm(blow("poison", sqlite_url))
    assert seen.failed == 1
    assert seen.events == ATTEMPTS_ALLOWED, "it may kill a worker once an attempt"


def test_never_more_cases_in_the_model_than_slots_whoever_dies_or_sleeps(blow, sqlite_url):
    assert calm(blow("cap", sqlite_url)).events == STORMS["cap"].short


def test_fifty_submissions_of_one_key_at_the_same_time_make_one_job(blow, database_url):
    assert calm(blow("twice", database_url)).jobs == 1


def test_a_stat_case_is_the_next_one_claimed_behind_a_thousand(tmp_path, sqlite_url):
    """Behind ten thousand in the long form."""
    behind = replace(STORMS["stat"], blow=partial(stat_behind_routine, backlog=1_000))
    calm(weather(behind, sqlite_url, tmp_path / "ward", events=STORMS["stat"].short))


def test_a_routine_case_is_read_although_urgent_ones_never_end(blow, sqlite_url):
    calm(blow("patience", sqlite_url))


def test_nothing_grows(blow, sqlite_url):
    calm(blow("soak", sqlite_url))


def test_a_storm_on_plain_celery_loses_jobs_and_the_checker_says_so(tmp_path, sqlite_url):
    """The proof that the harness can see a loss: early ack, no sweep, the job in the message."""
    ward = Ward(url=sqlite_url, folder=tmp_path, workers=1, module="tests.faults.plain_celery", reports=False)
    with ward.open():
        plain_celery.app.conf.broker_url = ward.broker_url
        for number in range(400):
            job_id = f"job_plain{number}"
            plain_celery.app.send_task(plain_celery.READ, args=(job_id,), ignore_result=True)
            ward.accepted.append(job_id)
        for _ in range(3):
            done = ward.count("jobs")
            ward.until(lambda done=done: ward.count("jobs") > done + 20, 30)
            ward.kill(ward.worker(0))
        still = Still(lambda: ward.count("jobs"))
        ward.until(still, 60)
        verdict = check(ward.url, ward.accepted)
        assert not verdict.holds
        # Not those that the broker still keeps for a dead worker: what is gone is gone for good.
        assert verdict.lost - kept_by_broker(ward)
        plain_celery.app.close()


def kept_by_broker(ward):
    with redis.Redis(unix_socket_path=str(ward.socket_path)) as client:
        kept = [json.loads(raw)[0]["body"] for raw in client.hvals("unacked")]
        kept += [json.loads(raw)["body"] for raw in client.lrange("celery", 0, -1)]
    return {json.loads(base64.b64decode(body))[0][0] for body in kept}


class Still:
    """True once a figure has not changed for some seconds."""

    def __init__(self, figure, seconds=5):
        self._figure, self._seconds = figure, seconds
        self._last, self._since = None, time.monotonic()

    def __call__(self):
        now = self._figure()
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        return time.monotonic() - self._since > self._seconds
