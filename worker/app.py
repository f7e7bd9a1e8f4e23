"""The only Celery application: queues, policies and the doorbell.

In: the broker's URL. Out: an app that programs start, and `ring`s. It imports no task; who starts a
worker names the module that has them. The settings and their reasons: facts of the Redis transport of
kombu 5.7 (`transport/redis.py`), celery#5935, kombu#1836, and docs/decisions/0001.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import setup_logging
from kombu.exceptions import OperationalError

from worker.errors import BrokerUnavailable

#: rings for whoever owns a device: "there is work"
READ_QUEUE = "pathlane.read"
#: requests of other services, as JSON: stored and gone at once
SUBMIT_QUEUE = "pathlane.submit"
#: ids of deliveries that are due
DELIVER_QUEUE = "pathlane.deliver"

READ = "pathlane.read"
SUBMIT = "pathlane.submit"
DELIVER_WEBHOOK = "pathlane.deliver.webhook"
#: to readers that stand unheard: a reader goes on until nothing waits, so a few wake everybody
MOST_RINGS = 64


app = Celery("pathlane")
app.conf.update(
    task_acks_late=True,
    task_acks_on_failure=True,  # retries are decided by the store, never by redelivery
    task_reject_on_worker_lost=False,  # a job that kills its worker would be redelivered for ever
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    result_backend=None,
    task_default_queue=READ_QUEUE,
    task_routes={SUBMIT: {"queue": SUBMIT_QUEUE}, "pathlane.deliver.*": {"queue": DELIVER_QUEUE}},
    task_serializer="json",
    accept_content=["json"],
    broker_transport_options={
        "visibility_timeout": 3600,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,  # what a ring costs at most, in its own thread, while the broker is silent
        "socket_connect_timeout": 5,
        "max_retries": 0,  # of a ring: kombu would try for six seconds, in the thread of whoever rings
        "socket_keepalive": True,
        "health_check_interval": 10,  # a consumer whose broker fell silent is back 1 + 2 x 10 s after it
        "client_name": "pathlane",
        "global_keyprefix": "pathlane:",
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_soft_shutdown_timeout=0,
    task_publish_retry=False,  # a caller must never hang on the broker: the sweep rings again
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    task_store_errors_even_if_ignored=False,
)  # fmt: skip


@setup_logging.connect
def _leave_logging_alone(**_: object) -> None:
    """Connected, this keeps Celery from adding a handler that prints whole messages (`worker.log`)."""


def connect(broker_url: str) -> Celery:
    """Point the app at its broker. Called by entrances, once."""
    from worker import unacked  # noqa: PLC0415  the client library is half a second of imports

    unacked.install()
    app.conf.broker_url = broker_url
    return app


def ring(name: str, *arguments: Any, queue: str, times: int = 1) -> bool:
    """Ring: False when the broker does not answer. Nothing is lost then; the sweep rings again."""
    try:
        for _ in range(times):
            app.send_task(name, args=arguments, queue=queue, ignore_result=True)
    except (OperationalError, ConnectionError, TimeoutError):
        return False
    return True


def ring_readers(counts: Sequence[int]) -> bool:
    """Ring for so many jobs in all, as far as more rings wake anybody."""
    try:
        with app.producer_or_acquire() as producer:
            missing = MOST_RINGS - _standing(producer.channel, READ_QUEUE)
    except (OperationalError, ConnectionError, TimeoutError):
        return False
    return ring(READ, queue=READ_QUEUE, times=min(sum(counts), missing))


def _standing(channel: Any, queue: str) -> int:
    """Messages that nobody has taken yet. Raises kombu's OperationalError."""
    try:
        count: int = channel.client.llen(queue)
    except channel.connection_errors as error:  # the client's own, which only it knows
        raise OperationalError from error
    return count


def ring_deliveries(ids: Sequence[str]) -> bool:
    """Ring for each, until the broker does not answer: then no other ring would be taken either."""
    return all(ring(DELIVER_WEBHOOK, delivery_id, queue=DELIVER_QUEUE) for delivery_id in dict.fromkeys(ids))


def check_broker(timeout_seconds: float = 3) -> None:
    """Raises BrokerUnavailable."""
    limits = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    try:
        with app.connection_for_write(transport_options=limits) as connection:
            connection.ensure_connection(max_retries=0, timeout=timeout_seconds)
    except (OperationalError, ConnectionError, TimeoutError) as error:
        raise BrokerUnavailable from error


def consume(*queues: str, threads: int, name: str) -> None:
    """Take messages until SIGTERM: the threads pool, no limits of Celery's own (docs/decisions/0002)."""
    # It warns of root because of pickle; only JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app.worker_main([
        "--quiet", "worker", "--pool=threads", f"--concurrency={threads}", f"--queues={','.join(queues)}",
        f"--hostname={name}@%h", "--without-gossip", "--without-mingle", "--without-heartbeat",
        "--loglevel=WARNING",
    ])  # fmt: skip
