"""The doorbell's broker, for every test of the queue."""

import pytest
import redis

from tests.bell import hang_up
from worker.app import connect


@pytest.fixture
def broker(broker_url):
    hang_up()  # that of an earlier test, whoever it was
    connect(broker_url)
    with redis.Redis.from_url(broker_url) as client:
        yield client
    hang_up()
