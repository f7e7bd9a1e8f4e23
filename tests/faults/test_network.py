"""The network between the parts, in short: half-open links, a database that is away, several machines."""

import dataclasses
import time

import httpx
import pytest

from tests.faults.gateway import gateway
from tests.faults.network import BOUND, NETWORK_STORMS, Linked
from tests.faults.weather import weather
from worker.store.keys import Keys

pytestmark = pytest.mark.storm


def test_work_flows_again_within_a_bound_after_every_link_was_half_open(cluster, tmp_path):
    storm = NETWORK_STORMS["links"]
    seen = weather(storm, cluster.new(), tmp_path / "ward", events=storm.short)
    assert seen.verdict.holds, seen.verdict.problems[:5]
    assert len(seen.recoveries) == storm.short
    assert max(seen.recoveries) < BOUND


def test_a_database_outage_ends_with_workers_carrying_on_by_themselves(cluster, tmp_path):
    """Refusing first, then silent; a minute each in the long form."""
    storm = dataclasses.replace(NETWORK_STORMS["away"], ward={"lasting": 10.0})
    seen = weather(storm, cluster.new(), tmp_path / "ward", events=2)
    assert seen.verdict.holds, seen.verdict.problems[:5]
    assert len(seen.recoveries) == 2


def test_a_submission_is_answered_at_once_while_the_broker_is_silent(cluster, tmp_path):
    ward = Linked(url=cluster.new(), folder=tmp_path, workers=1)
    with ward.open(), gateway(ward) as url:
        Keys(ward.database).add("storm", "pl_storm")
        headers = {"authorization": "Bearer pl_storm"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:

            def submit():
                begun = time.monotonic()
                answer = client.post("/v1/jobs", json=ward.request().model_dump(mode="json"))
                ward.accepted.append(answer.json()["id"])
                return time.monotonic() - begun

            submit()
            ward.links["broker"].swallow()
            assert max(submit() for _ in range(5)) < 2
            ward.settle()
            assert ward.verdict().holds, "read and told without a broker"
