"""The doorbell on a real broker: what a ring carries, and what happens when nobody is at the door."""

import base64
import json
import subprocess
import sys

import pytest
from kombu import Consumer, Queue

from worker.app import (
    DELIVER_QUEUE,
    DELIVER_WEBHOOK,
    MOST_RINGS,
    READ,
    READ_QUEUE,
    app,
    check_broker,
    ring,
    ring_readers,
)

NOBODY = """
import time
from worker.app import READ, READ_QUEUE, check_broker, connect, ring, ring_readers
from worker.errors import BrokerUnavailable
connect("redis://127.0.0.1:1/0")
begun = time.monotonic()
assert ring(READ, queue=READ_QUEUE) is False
assert ring_readers([1]) is False
assert time.monotonic() - begun < 6
try:
    check_broker()
except BrokerUnavailable:
    print("told")
"""


def messages(client):
    """Every message in the broker, decoded, whatever list it is in."""
    lists = [key for key in client.scan_iter("*") if client.type(key) == b"list"]
    assert all(key.startswith(b"pathlane:") for key in lists)
    found = [json.loads(raw) for key in lists for raw in client.lrange(key, 0, -1)]
    return [(m["headers"]["task"], json.loads(base64.b64decode(m["body"]))[:2]) for m in found]


def test_a_ring_says_that_there_is_work_and_nothing_else(broker):
    assert ring(READ, queue=READ_QUEUE, times=3)
    assert messages(broker) == [(READ, [[], {}])] * 3


def test_where_enough_rings_stand_unheard_no_other_is_added(broker):
    assert ring_readers([3, 1])
    assert len(messages(broker)) == 4
    assert ring_readers([MOST_RINGS])
    assert ring_readers([1])
    assert len(messages(broker)) == MOST_RINGS


def test_a_delivery_is_rung_for_by_its_id(broker):
    assert ring(DELIVER_WEBHOOK, "msg_1", queue=DELIVER_QUEUE)
    assert messages(broker) == [(DELIVER_WEBHOOK, [["msg_1"], {}])]


def test_the_broker_that_is_there_is_found(broker):
    assert broker.ping()
    check_broker()


def heard_over_a_lost_connection():
    """One ring, whose connection went while it was worked on, and was closed then."""
    ring(READ, queue=READ_QUEUE)
    heard = []
    with (
        app.connection_for_read() as connection,
        Consumer(connection, queues=[Queue(READ_QUEUE)], on_message=heard.append, accept=["json"]),
    ):
        connection.drain_events(timeout=5)
        channel = connection.default_channel
        connection._do_close_transport()
        channel.close()
    return heard[0]


def test_a_connection_that_was_lost_while_a_ring_is_worked_on_may_be_closed(broker):
    """kombu raises AttributeError of its own here, and Celery ends the worker."""
    heard_over_a_lost_connection()
    assert broker.hlen("pathlane:unacked") == 1, "it comes back by the visibility timeout"


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_ring_may_end_after_its_connection_has(broker, end):
    getattr(heard_over_a_lost_connection(), end)()
    assert broker.hlen("pathlane:unacked") == 1, "it comes back by the visibility timeout"


def test_a_broker_that_is_not_there_is_told_in_seconds_and_raises_nothing():
    told = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, text=True, timeout=30)
    assert told.stdout == "told\n", told.stderr
