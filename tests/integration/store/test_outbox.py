"""Telling: rows in the transaction that ends the job, attempts under a lease, one stable id."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.builders import a_reading, a_request
from worker.errors import ImageMissing, InvalidRequest, LeaseLost, NotFound
from worker.jobs.event import DeliveryStatus, EndpointStatus, EventType, Outcome, Payload
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox

DELIVERED = Outcome(status=DeliveryStatus.DELIVERED, http_status=200)
LATER = Outcome(status=DeliveryStatus.PENDING, wait=timedelta(hours=1), http_status=500, reason="status")


@pytest.fixture
def jobs(database):
    return Jobs(database, public_url="https://pathlane.example/")


@pytest.fixture
def outbox(database):
    return Outbox(database)


@pytest.fixture
def endpoints(database):
    return Endpoints(database)


def add(endpoints, name="lis", **fields):
    return endpoints.add(name, f"https://{name}.example/hook", secret=f"whsec_{name}", **fields)


def ended(jobs, **fields):
    """A job that has succeeded, and the ids of its deliveries."""
    jobs.submit(a_request(**fields), submitter="lab")
    job = jobs.claim(worker_id="w", lease_seconds=30)
    return job, jobs.finish(job, a_reading())


def claim(outbox, delivery_id, lease=30.0):
    return outbox.claim(delivery_id, lease_seconds=lease)


def test_every_subscriber_is_told_once(jobs, endpoints, outbox):
    for name in ("lis", "viewer"):
        add(endpoints, name)
    _, ids = ended(jobs)
    assert len(ids) == 2
    assert sorted(outbox.due()) == sorted(ids)


def test_only_the_named_endpoints_are_told_by_name_or_id(jobs, endpoints, outbox):
    lis, viewer, _ = add(endpoints), add(endpoints, "viewer"), add(endpoints, "archive")
    job, _ = ended(jobs, endpoints=["lis", viewer.id])
    assert {d.endpoint for d in outbox.of_job(job.id)} == {lis.name, viewer.name}
    _, nobody = ended(jobs, endpoints=[])
    assert nobody == []


def test_an_endpoint_hears_only_what_it_subscribed_to(jobs, endpoints, outbox):
    add(endpoints, event_types=[EventType.JOB_FAILED])
    assert ended(jobs)[1] == []
    jobs.submit(a_request(), submitter="lab")
    assert len(jobs.fail(jobs.claim(worker_id="w", lease_seconds=30), ImageMissing())) == 1


def test_the_thin_body_carries_ids_and_provenance_and_no_text_of_the_case(jobs, endpoints, outbox):
    add(endpoints)
    job, (delivery_id,) = ended(
        jobs, question="Is Ms Canary well?", correlation_id="c-7", labels={"n": "Canary"}
    )
    body = json.loads(claim(outbox, delivery_id).body)
    assert body["type"] == "job.succeeded"
    assert body["data"]["job_id"] == job.id
    assert body["data"]["correlation_id"] == "c-7"
    assert body["data"]["result_url"] == f"https://pathlane.example/v1/jobs/{job.id}"
    assert body["data"]["model"]["license"] == "Apache-2.0"
    assert body["data"]["research_use_only"] is True
    assert "Canary" not in json.dumps(body)
    assert "Brown chromogen" not in json.dumps(body)


def test_the_full_body_is_for_https_endpoints_that_ask_for_it(jobs, endpoints, outbox):
    with pytest.raises(InvalidRequest, match="https"):
        endpoints.add("plain", "http://lis.example/", secret="s", payload=Payload.FULL)
    add(endpoints, payload=Payload.FULL)
    _, (delivery_id,) = ended(jobs)
    data = json.loads(claim(outbox, delivery_id).body)["data"]
    assert data["reading"] == {"reasoning": "Brown chromogen.", "answer": "B. DAB", "choice": "B"}


def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(jobs, endpoints, outbox):
    add(endpoints)
    _, (delivery_id,) = ended(jobs)
    assert claim(outbox, delivery_id, lease=-1).attempt == 1
    assert claim(outbox, delivery_id).attempt == 2
    assert claim(outbox, delivery_id) is None
    assert outbox.due() == []


def test_a_failed_attempt_is_due_later_under_the_same_id_and_body(jobs, endpoints, outbox):
    add(endpoints)
    job, (delivery_id,) = ended(jobs)
    first = claim(outbox, delivery_id)
    outbox.record(first, LATER)
    assert claim(outbox, delivery_id) is None
    state = outbox.of_job(job.id)[0]
    assert (state.status, state.attempt, state.http_status) == (DeliveryStatus.PENDING, 1, 500)
    assert state.next_at - datetime.now(UTC) > timedelta(minutes=59)
    outbox.replay(delivery_id)
    second = claim(outbox, delivery_id)
    assert (second.id, second.body) == (first.id, first.body)


def test_a_delivered_event_is_done_and_can_be_replayed(jobs, endpoints, outbox):
    add(endpoints)
    job, (delivery_id,) = ended(jobs)
    outbox.record(claim(outbox, delivery_id), DELIVERED)
    assert outbox.of_job(job.id)[0].delivered_at is not None
    assert outbox.due() == []
    outbox.replay(delivery_id)
    assert outbox.due() == [delivery_id]
    with pytest.raises(NotFound):
        outbox.replay("msg_nothing")


def test_an_attempt_that_was_overtaken_records_nothing(jobs, endpoints, outbox):
    add(endpoints)
    _, (delivery_id,) = ended(jobs)
    slow = claim(outbox, delivery_id, lease=-1)
    outbox.record(claim(outbox, delivery_id), DELIVERED)
    with pytest.raises(LeaseLost):
        outbox.record(slow, LATER)


def test_a_gone_endpoint_gets_nothing_more_until_a_replay_revives_it(jobs, endpoints, outbox):
    add(endpoints)
    _, (delivery_id,) = ended(jobs)
    outbox.record(claim(outbox, delivery_id), Outcome(status=DeliveryStatus.GONE, http_status=410))
    assert endpoints.all()[0].status is EndpointStatus.GONE
    assert ended(jobs)[1] == []
    assert outbox.replay_failed(since=datetime.now(UTC) - timedelta(hours=1)) == 1
    assert endpoints.all()[0].status is EndpointStatus.ACTIVE
    assert outbox.due() == [delivery_id]


def test_deliveries_of_a_paused_endpoint_wait(jobs, endpoints, outbox):
    add(endpoints)
    endpoints.pause("lis")
    _, (delivery_id,) = ended(jobs)
    assert claim(outbox, delivery_id) is None
    endpoints.resume("lis")
    assert claim(outbox, delivery_id) is not None


def test_a_slow_receiver_holds_four_attempts_and_no_more(jobs, endpoints, outbox):
    add(endpoints)
    ids = [ended(jobs)[1][0] for _ in range(6)]
    assert [claim(outbox, i) is not None for i in ids] == [True] * 4 + [False] * 2
    add(endpoints, "quick")
    _, both = ended(jobs, endpoints=["quick"])
    assert claim(outbox, both[0]) is not None


def test_both_secrets_sign_while_a_rotation_lasts(jobs, endpoints, outbox):
    add(endpoints)
    endpoints.rotate("lis", secret="whsec_new", overlap_seconds=3600)
    _, (delivery_id,) = ended(jobs)
    assert claim(outbox, delivery_id, lease=-1).endpoint.secrets == ("whsec_new", "whsec_lis")
    endpoints.rotate("lis", secret="whsec_newer", overlap_seconds=-1)
    assert claim(outbox, delivery_id).endpoint.secrets == ("whsec_newer",)


def test_a_secret_is_not_in_the_text_of_an_endpoint(endpoints):
    assert "whsec_lis" not in repr(add(endpoints))


def test_a_name_is_taken_once(endpoints):
    add(endpoints)
    with pytest.raises(InvalidRequest, match="name"):
        add(endpoints)


@pytest.mark.parametrize("url", ["lis.example", "ftp://lis.example", "https://", "javascript:alert(1)"])
def test_an_endpoint_is_a_web_address(endpoints, url):
    with pytest.raises(InvalidRequest, match="url"):
        endpoints.add("lis", url, secret="whsec_x")


def test_counts_say_what_is_due_and_what_is_failing(jobs, endpoints, outbox):
    add(endpoints)
    _, (one,) = ended(jobs)
    ended(jobs)
    outbox.record(claim(outbox, one), LATER)
    assert outbox.counts() == {"due": 1, "failing": 1, "exhausted": 0}
