"""The gateway's tasks on a real store and a real broker; the receiver is a transport that answers."""

import base64
import json
import threading
import time
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from celery.exceptions import Reject
from celery.signals import worker_shutting_down

from integrations import tasks
from integrations.telling import Telling
from integrations.webhooks.delivery import attempt
from integrations.webhooks.signing import Secret
from tests.builders import a_reading, a_request
from worker.errors import QueueFull, StoreUnavailable
from worker.jobs.event import DeliveryStatus, Outcome
from worker.store.cases import Cases
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.sealing import Seal

SEAL = Seal([Seal.new_key()])
BODY = {"images": [{"reference": "file:/x.png"}], "question": "Q?"}


@pytest.fixture
def received():
    return []


@pytest.fixture
def courier(database, broker, received):
    def answer(request):
        received.append(request.headers["webhook-id"])
        return httpx.Response(204)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        jobs = Jobs(database)
        telling = Telling(
            jobs=jobs, cases=Cases(database, SEAL), channels={},
            webhook=lambda delivery, now, chance: attempt(delivery, client, now=now, chance=chance),
        )  # fmt: skip
        yield tasks.Courier(
            jobs=jobs,
            outbox=Outbox(database),
            telling=telling,
            attempt_seconds=5,
            patience_seconds=3600,
        )


@pytest.fixture
def lis(database):
    return Endpoints(database).add(
        "lis", "https://lis.example", secret=Secret.new(lambda n: b"k" * n).text
    )  # fmt: skip


@pytest.fixture
def due(lis, courier):
    """A delivery that is due."""
    return read_one(courier)


def read_one(courier):
    """Ids of a job that has been read, and of the delivery that is due for it."""
    courier.jobs.submit(a_request(), submitter="lab")
    job = courier.jobs.claim(worker_id="w", lease_seconds=30)
    return job.id, courier.jobs.finish(job, a_reading())[0]


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def waiting(broker):
    return broker.llen("pathlane:pathlane.deliver")


def rung(broker):
    """Ids of the deliveries that are rung for, the oldest ring first."""
    raw = broker.lrange("pathlane:pathlane.deliver", 0, -1)
    return [json.loads(base64.b64decode(json.loads(one)["body"]))[0][0] for one in reversed(raw)]


def test_a_delivery_is_sent_and_recorded_once(courier, due, received):
    job_id, delivery_id = due
    courier.deliver(delivery_id)
    courier.deliver(delivery_id)
    assert received == [delivery_id]
    assert courier.outbox.of_job(job_id)[0].status is DeliveryStatus.DELIVERED


def test_the_relay_rings_for_what_is_due_and_not_again_while_it_rings(courier, due, broker):
    courier.relay()
    until(lambda: waiting(broker) == 1)
    courier._heard = True
    courier.relay()
    time.sleep(0.2)
    assert waiting(broker) == 1


def test_a_delivery_whose_ring_is_still_on_its_way_is_not_rung_again(courier, due, monkeypatch):
    rung, free = [], threading.Event()
    monkeypatch.setattr(tasks, "ring_deliveries", lambda ids: bool(rung.extend(ids)) or free.wait(5))
    for _ in range(3):
        courier._heard = True
        courier.relay()
        until(lambda: rung)
    free.set()
    assert rung == [due[1]]


def test_a_delivery_that_the_broker_did_not_take_is_rung_again_in_the_next_round(courier, due, monkeypatch):
    rung = []
    monkeypatch.setattr(tasks, "ring_deliveries", rung.extend)
    for count in (1, 2):
        courier._heard = True
        courier.relay()
        until(lambda count=count: len(rung) == count and not courier._rung)


def test_what_is_due_is_delivered_although_its_ring_is_not_heard(courier, due, received):
    courier.relay()
    assert received == []
    courier.relay()
    until(lambda: courier.outbox.of_job(due[0])[0].status is DeliveryStatus.DELIVERED)
    assert received == [due[1]]


def test_a_ring_that_was_heard_at_once_may_be_rung_again(courier, due):
    """Its task is done before the bell comes back, and had found the endpoint busy."""
    _, delivery_id = due
    heard = []

    def hear(one):
        heard.append(one)
        courier._rung.pop(one, None)  # what `deliver` does first
        return True

    courier._bell = hear
    courier.relay()
    courier._heard = True
    courier.relay()
    assert heard == [delivery_id, delivery_id]


def test_who_has_delivered_goes_on_with_what_else_is_due_to_that_endpoint(courier, lis, broker, received):
    """Rings for an endpoint that is busy come to nothing, and its backlog would wait for the relay each time."""
    ids = [read_one(courier)[1] for _ in range(3)]
    courier.deliver(ids[1])
    assert received == [ids[1], ids[0], ids[2]]
    assert rung(broker) == []


def test_who_has_delivered_to_a_slow_endpoint_rings_for_the_next_and_makes_room(
    courier, lis, broker, monkeypatch
):
    """Else two slow endpoints would hold all threads, and others wait."""
    monkeypatch.setattr(tasks, "IN_A_ROW_SECONDS", 0.1)
    told = []

    def slowly(delivery, *_):
        time.sleep(0.2)
        told.append(delivery.id)
        return Outcome(status=DeliveryStatus.DELIVERED, http_status=204)

    courier.telling = replace(courier.telling, webhook=slowly)
    first, second = (read_one(courier)[1] for _ in range(2))
    courier.deliver(first)
    assert told == [first]
    until(lambda: rung(broker) == [second])


def test_who_has_delivered_begins_nothing_more_when_its_program_stops(
    courier, lis, broker, received, monkeypatch
):
    first, second = (read_one(courier)[1] for _ in range(2))
    monkeypatch.setattr(tasks, "_installed", [courier])
    worker_shutting_down.send(sender=None)
    courier.deliver(first)
    assert received == [first]
    until(lambda: rung(broker) == [second])


def test_who_has_delivered_does_not_go_on_with_another_endpoint(courier, lis, received, database):
    _, first = read_one(courier)
    other = Endpoints(database).add("other", "https://other.example", secret="whsec_a3Jra2s=")
    courier.jobs.submit(a_request(endpoints=("other",)), submitter="lab")
    job = courier.jobs.claim(worker_id="w", lease_seconds=30)
    courier.jobs.finish(job, a_reading())
    courier.deliver(first)
    assert received == [first]
    assert courier.outbox.due(endpoint_id=other.id) != []


def test_an_endpoint_that_is_down_is_not_tried_faster_for_that(courier, lis, broker, monkeypatch):
    first, _ = (read_one(courier)[1] for _ in range(2))
    down = Outcome(status=DeliveryStatus.PENDING, wait=timedelta(seconds=5), reason="refused")
    courier.telling = replace(courier.telling, webhook=lambda *_: down)
    courier.deliver(first)
    time.sleep(0.2)
    assert rung(broker) == []


def test_the_relay_looks_after_leases_when_no_worker_is_left_to(courier):
    job = courier.jobs.submit(a_request(), submitter="lab").job
    courier.jobs.claim(worker_id="dead", lease_seconds=-1)
    courier.relay()
    assert courier.jobs.get(job.id).status == "queued"


def test_a_request_by_message_is_stored_once_however_often_it_comes(courier):
    for _ in range(2):
        tasks._store(courier, "message-1", BODY)
    assert courier.jobs.depth()["routine"] == 1


def test_a_bad_request_by_message_is_dropped_and_nothing_of_it_is_said(courier, capsys):
    tasks._store(courier, "message-1", {"question": "Canary"})
    tasks._store(courier, "message-2", "not even an object")
    assert courier.jobs.depth()["routine"] == 0
    assert "Canary" not in capsys.readouterr().err


def test_a_request_by_message_is_not_lost_while_the_database_is_down(courier, monkeypatch):
    class Down:
        def submit(self, *_, **__):
            raise StoreUnavailable

    courier.jobs = Down()
    monkeypatch.setattr(tasks, "STORE_RETRY_SECONDS", 0)
    with pytest.raises(Reject) as caught:
        tasks._store(courier, "message-1", BODY)
    assert caught.value.requeue is True


def test_a_request_by_message_is_stored_whatever_the_limit(database, courier):
    courier.jobs = Jobs(database, queue_limit=1)
    for number in range(3):
        tasks._store(courier, f"message-{number}", BODY)
    assert courier.jobs.depth()["routine"] == 3
    with pytest.raises(QueueFull):
        courier.jobs.submit(a_request(), submitter="lab")
