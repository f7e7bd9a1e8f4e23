"""Endpoints and deliveries from outside, and the state of the house."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from integrations.webhooks.delivery import attempt
from integrations.webhooks.signing import Secret, verify
from tests.builders import a_reading
from tests.integration.http_api.conftest import BODY, SECRET
from tests.integration.http_api.test_api import problem, said
from tests.integration.webhooks.receiver import Receiver, says
from worker.address import AllowList
from worker.jobs.event import DeliveryStatus, Outcome
from worker.pinned import pinned_client
from worker.store.outbox import Outbox
from worker.store.presence import Presence, Workers
from worker.store.verification import verify as verify_audit

HOOK = {"name": "lis", "url": "https://lis.example.org/in"}
FAILED = Outcome(status=DeliveryStatus.EXHAUSTED, http_status=500, reason="not_accepted")


def endpoint(client, **fields):
    response = client.post("/v1/endpoints", json=HOOK | fields)
    assert response.status_code == 201, response.text
    return response.json()


def told(client, api, outcome=FAILED, **fields):
    """The id of a delivery that was tried once."""
    job_id = client.post("/v1/jobs", json=BODY | fields).json()["id"]
    (delivery_id,) = api.stores.jobs.finish(
        api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading()
    )
    api.stores.outbox.record(api.stores.outbox.claim(delivery_id, lease_seconds=30), outcome)
    return job_id, delivery_id


def test_a_secret_is_shown_when_it_is_made_and_never_again(client, api, database):
    made = endpoint(client, events=["job.succeeded"])
    assert made["secret"] == SECRET
    assert made["events"] == ["job.succeeded"]
    shown = client.get(f"/v1/endpoints/{made['id']}")
    assert client.get("/v1/endpoints").json()["items"] == [shown.json()]
    for response in (shown, client.get("/v1/endpoints")):
        assert SECRET not in response.text
    assert [action for action, _ in said(database)][-1] == "endpoint added"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "gopher://x"}, "url"),
        ({"url": "lis.example.org"}, "url"),
        ({"url": "http://lis.example.org", "payload": "full"}, "payload"),
        ({"events": []}, "events"),
        ({"events": ["endpoint.test"]}, "events"),
        ({"name": "a b"}, "name"),
        ({"name": "ep_x"}, "name"),
        ({"secret": "mine"}, "?"),
    ],
)
def test_an_endpoint_that_is_none_is_refused(client, fields, field):
    refused = problem(client.post("/v1/endpoints", json=HOOK | fields), 422, "invalid_request")
    assert refused["errors"][0]["field"].split(".")[0] == field


def test_a_name_is_given_once(client):
    endpoint(client)
    problem(client.post("/v1/endpoints", json=HOOK), 409, "name_taken")


def test_after_a_rotation_both_secrets_sign_for_a_while(client, api):
    made = endpoint(client)
    turned = client.post(f"/v1/endpoints/{made['id']}/rotate", json={"overlap_hours": 1})
    assert (turned.status_code, turned.json()["secrets"]) == (200, 2)
    assert api.stores.endpoints.get(made["id"]).secrets == (SECRET, SECRET)
    at_once = client.post(f"/v1/endpoints/{made['id']}/rotate", json={"overlap_hours": 0})
    assert at_once.json()["secrets"] == 1
    assert client.post(f"/v1/endpoints/{made['id']}/rotate").json()["secrets"] == 2, "a day by default"


def test_a_paused_endpoint_lets_its_events_wait_and_a_resumed_one_gets_them(client, api):
    made = endpoint(client)
    assert client.post(f"/v1/endpoints/{made['id']}/pause").json()["status"] == "paused"
    client.post("/v1/jobs", json=BODY)
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    assert api.stores.outbox.due() == []
    assert client.post(f"/v1/endpoints/{made['id']}/resume").json()["status"] == "active"
    assert len(api.stores.outbox.due()) == 1


def test_a_test_event_goes_out_as_any_other_and_its_answer_can_be_read(client, api, database):
    words = b"I am a teapot, Ms Canary. " * 100
    receiver = Receiver()
    receiver.will(says(b"HTTP/1.1 418 Teapot\r\ncontent-length: %d\r\n\r\n" % len(words) + words))
    with receiver.listening():
        made = endpoint(client, url=receiver.url())
        sent = client.post(f"/v1/endpoints/{made['id']}/test")
        assert sent.status_code == 202
        delivery_id = sent.json()["delivery_id"]
        assert api.stores.outbox.due() == [delivery_id]
        delivery = api.stores.outbox.claim(delivery_id, lease_seconds=30)
        with pinned_client(AllowList.of(["127.0.0.0/8"]), seconds=5, plain_http=True) as out:
            outcome = attempt(delivery, out, now=datetime.now(UTC), chance=0.5)
        api.stores.outbox.record(delivery, outcome)
    (received,) = receiver.received
    verify([Secret.read(SECRET)], received.headers, received.body, now=datetime.now(UTC))
    assert b'"type":"endpoint.test"' in received.body
    shown = client.get(f"/v1/deliveries/{delivery_id}").json()
    assert (shown["job_id"], shown["event_type"], shown["attempt"]) == (None, "endpoint.test", 1)
    (tried,) = client.get(f"/v1/deliveries/{delivery_id}/attempts").json()["items"]
    assert (tried["attempt"], tried["http_status"], tried["status"]) == (1, 418, "pending")
    assert tried["answer"] == words[:1024].decode()
    assert said(database)[-1][0] == "answers read", "it may hold text of a case"
    with database.read() as connection:
        rows = str(connection.execute(text("SELECT * FROM delivery_attempts")).all())
    assert "Canary" not in rows, "what a receiver says lies sealed"
    api.stores.audit.chain()
    assert verify_audit(database).findings == ()
    assert api.stores.outbox.forget(days=0) == 1
    (tried,) = client.get(f"/v1/deliveries/{delivery_id}/attempts").json()["items"]
    assert (tried["http_status"], tried["answer"]) == (418, None)


def test_without_keys_to_seal_it_with_no_answer_is_kept(client, api, database):
    endpoint(client)
    client.post("/v1/jobs", json=BODY)
    (delivery_id,) = api.stores.jobs.finish(
        api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading()
    )
    keyless = Outbox(database)
    answered = Outcome(status=DeliveryStatus.DELIVERED, http_status=200, answer=b"Canary")
    keyless.record(keyless.claim(delivery_id, lease_seconds=30), answered)
    (tried,) = client.get(f"/v1/deliveries/{delivery_id}/attempts").json()["items"]
    assert (tried["http_status"], tried["answer"]) == (200, None)


def test_what_is_not_there_cannot_be_told_turned_or_tried(client, api, database):
    for path in ("endpoints/ep_x/rotate", "endpoints/ep_x/pause", "endpoints/ep_x/resume", "endpoints/ep_x/test",
                 "deliveries/msg_x/replay"):  # fmt: skip
        problem(client.post(f"/v1/{path}"), 404, "not_found")
    for path in ("endpoints/ep_x", "deliveries/msg_x", "deliveries/msg_x/attempts"):
        problem(client.get(f"/v1/{path}"), 404, "not_found")
    endpoint(client)
    problem(client.post("/v1/endpoints/lis/pause"), 404, "not_found")


def test_an_endpoint_that_is_gone_takes_no_test_until_it_is_resumed(client, api):
    made = endpoint(client)
    told(client, api, Outcome(status=DeliveryStatus.GONE, http_status=410, reason="gone"))
    problem(client.post(f"/v1/endpoints/{made['id']}/test"), 409, "endpoint_gone")
    client.post(f"/v1/endpoints/{made['id']}/resume")
    assert client.post(f"/v1/endpoints/{made['id']}/test").status_code == 202


def test_deliveries_are_listed_the_newest_first_and_filtered(client, api):
    made = endpoint(client)
    first = [told(client, api) for _ in range(3)]
    delivered = told(client, api, Outcome(status=DeliveryStatus.DELIVERED, http_status=200))

    def ids(query=""):
        return [one["id"] for one in client.get(f"/v1/deliveries?{query}").json()["items"]]

    every = [delivered[1], *(delivery_id for _, delivery_id in reversed(first))]
    assert ids() == every
    assert ids("status=delivered") == [delivered[1]]
    assert ids("status=exhausted&status=delivered") == every
    assert ids(f"job_id={first[1][0]}") == [first[1][1]]
    assert ids(f"endpoint_id={made['id']}") == every
    assert ids("endpoint_id=ep_x") == []
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(
            "/v1/deliveries", params={"limit": 3} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen, cursor = seen + [one["id"] for one in page["items"]], page["next"]
    assert seen == every


def test_one_delivery_is_sent_again_under_its_old_id(client, api, database):
    endpoint(client)
    _, delivery_id = told(client, api)
    again = client.post(f"/v1/deliveries/{delivery_id}/replay")
    assert (again.status_code, again.json()["status"], again.json()["attempt"]) == (202, "pending", 0)
    assert api.stores.outbox.due() == [delivery_id]
    assert [action for action, _ in said(database)][-1] == "replayed"
    api.stores.outbox.record(api.stores.outbox.claim(delivery_id, lease_seconds=30), FAILED)
    tries = client.get(f"/v1/deliveries/{delivery_id}/attempts").json()["items"]
    assert [one["attempt"] for one in tries] == [1, 1], "the earlier round stays known"


def test_a_range_is_sent_again(client, api):
    made = endpoint(client)
    failed = [told(client, api)[1] for _ in range(2)]
    told(client, api, Outcome(status=DeliveryStatus.DELIVERED, http_status=200))
    now = datetime.now(UTC)
    hour = {
        "since": (now - timedelta(hours=1)).isoformat(),
        "until": (now + timedelta(hours=1)).isoformat(),
    }

    def replay(**fields):
        response = client.post("/v1/deliveries/replay", json=hour | fields)
        assert response.status_code == 202, response.text
        return response.json()

    assert replay(until=hour["since"]) == {"count": 0, "more": False}
    assert replay(endpoint_id="ep_x")["count"] == 0
    assert replay(endpoint_id=made["id"]) == {"count": 2, "more": False}
    assert sorted(api.stores.outbox.due()) == sorted(failed)
    assert replay(status=["delivered"])["count"] == 1
    problem(client.post("/v1/deliveries/replay", json={"since": hour["since"]}), 422, "invalid_request")


def test_the_status_says_what_waits_who_works_and_what_is_told(client, api, database):
    endpoint(client)
    told(client, api)
    told(client, api, Outcome(status=DeliveryStatus.PENDING, wait=timedelta(hours=1), reason="timeout"))
    client.post("/v1/jobs", json=BODY | {"priority": "stat"})
    client.post("/v1/jobs", json=BODY)
    api.stores.jobs.claim(worker_id="w", lease_seconds=30)
    worker = {"host": "gpu1", "pid": 7, "device": "cuda:0", "model": "demo", "slots": 4, "running": 1}
    Workers(database).report(Presence(id="w", **worker))
    found = client.get("/v1/status").json()
    assert found["queue"]["stat"] == {"queued": 0, "oldest_seconds": None, "running": 1}
    assert (found["queue"]["routine"]["queued"], found["queue"]["routine"]["running"]) == (1, 0)
    assert found["queue"]["routine"]["oldest_seconds"] >= 0
    (shown,) = found["workers"]
    assert {name: shown[name] for name in worker} == worker
    assert found["deliveries"] == {"due": 0, "failing": 1, "exhausted": 1}


def test_the_history_keeps_what_was_seen_the_oldest_first(client, api):
    client.post("/v1/jobs", json=BODY)
    api.history.sample()
    client.post("/v1/jobs", json=BODY)
    api.history.sample()
    found = client.get("/v1/status/history").json()
    assert found["every_seconds"] == 5
    assert [one["queue"]["routine"]["queued"] for one in found["items"]][-2:] == [1, 2]
    assert found["items"][-1]["at"] >= found["items"][-2]["at"]
    for _ in range(800):
        api.history._samples.append(api.history.samples()[-1])
    assert len(client.get("/v1/status/history").json()["items"]) == 720
