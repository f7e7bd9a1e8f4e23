"""A broker behind a network that falls silent: rings give up in seconds, and nobody waits for them."""

import time

import pytest

from integrations import tasks
from tests.bell import hang_up
from tests.builders import a_reading, a_request
from tests.faults.proxy import Link, server_of
from worker.app import READ, READ_QUEUE, app, check_broker, connect, ring, ring_deliveries, ring_readers
from worker.errors import BrokerUnavailable
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.schema import migrate
from worker.store.session import Database


@pytest.fixture
def link(broker_url):
    with Link(to=server_of(broker_url, 6379)).open() as link:
        yield link


@pytest.fixture
def silent(link, monkeypatch):
    """Connected while the broker still answered."""
    limits = app.conf.broker_transport_options | {"socket_timeout": 1}
    monkeypatch.setitem(app.conf, "broker_transport_options", limits)
    hang_up()
    connect(f"redis://127.0.0.1:{link.port}/0")
    assert ring(READ, queue=READ_QUEUE)
    link.swallow()
    yield link
    hang_up()


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'pathlane.db'}")
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def due(database):
    """Deliveries that are due."""
    Endpoints(database).add("lis", "https://lis.example", secret="whsec_" + "a" * 40)
    jobs = Jobs(database)
    told = []
    for number in range(4):
        jobs.submit(a_request(idempotency_key=str(number)), submitter="lab")
        job = jobs.claim(worker_id="w", lease_seconds=30)
        told += jobs.finish(job, a_reading())
    return told


def seconds(action):
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def test_no_socket_of_the_broker_is_waited_for_without_end():
    options = app.conf.broker_transport_options
    assert 0 < options["socket_connect_timeout"] <= options["socket_timeout"] <= 10
    assert 1 + 2 * options["health_check_interval"] <= 21


def test_a_ring_that_is_swallowed_is_given_up_and_the_next_one_heard_again(silent):
    assert seconds(lambda: ring(READ, queue=READ_QUEUE)) < 3
    assert ring(READ, queue=READ_QUEUE) is False
    assert seconds(lambda: ring_readers([1])) < 3
    assert ring_readers([1]) is False
    silent.heal()
    assert ring_readers([1])
    assert ring(READ, queue=READ_QUEUE)


def test_whether_the_broker_is_there_is_known_within_its_time(silent):
    def look():
        with pytest.raises(BrokerUnavailable):
            check_broker(0.5)

    assert seconds(look) < 2


def test_many_rings_for_a_silent_broker_cost_no_more_than_one(silent, due):
    assert seconds(lambda: ring_deliveries(due)) < 2.5


def test_what_is_due_is_told_while_the_broker_is_silent(silent, due, database, monkeypatch):
    told = []
    courier = tasks.Courier(
        jobs=Jobs(database), outbox=Outbox(database), telling=None, attempt_seconds=5, patience_seconds=3600
    )
    monkeypatch.setattr(tasks.Courier, "deliver", lambda _, delivery_id: told.append(delivery_id))
    assert seconds(courier.relay) < 0.5
    assert seconds(courier.relay) < 0.5
    time.sleep(0.2)
    assert sorted(told) == sorted(due)
