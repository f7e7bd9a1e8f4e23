"""The doorbell's broker, for every test of the queue."""

import pytest
import redis

from worker.app import app, connect


@pytest.fixture
def broker(broker_url):
    app.amqp._producer_pool = None  # that of an earlier test goes to another broker
    connect(broker_url)
    with redis.Redis.from_url(broker_url) as client:
        yield client
    app.close()
