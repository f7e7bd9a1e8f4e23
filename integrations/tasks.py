"""What the queue can ask of a gateway: take a request in, deliver one event.

In: ids, and on one queue a request as JSON. Out: rows in the store, attempts at delivery. This is the
second place where tasks are registered; its program needs no torch (`integrations.courier`).
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import Task
from celery.exceptions import Reject
from celery.signals import worker_shutting_down

from integrations import account
from integrations.telling import Telling
from worker import log
from worker.account import swept
from worker.app import DELIVER_WEBHOOK, SUBMIT, app, ring_deliveries, ring_readers
from worker.bell import Bell
from worker.errors import InputError, LeaseLost, StoreUnavailable
from worker.jobs.event import Delivery, DeliveryStatus, Outcome
from worker.jobs.request import parse_request
from worker.store.due import IN_FLIGHT_PER_ENDPOINT
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox

#: who a request belongs to that came by Celery: whoever can reach the broker
CELERY_SUBMITTER = "celery"
#: a delivery that was rung is not rung again for so long
RING_AGAIN_SECONDS = 30.0
STORE_RETRY_SECONDS = 2.0
#: deliveries at once that no ring asked for
HANDS = 8
#: so long a thread goes on with what is due to one endpoint before it rings for the next, so that a slow one
#: has no more of a courier than one attempt at a time
IN_A_ROW_SECONDS = 1.0

logger = log.get(__name__)


@dataclass(slots=True, kw_only=True)
class Courier:
    """What the tasks of this process work with."""

    jobs: Jobs
    outbox: Outbox
    telling: Telling
    #: how long one attempt may take, in seconds
    attempt_seconds: float
    patience_seconds: float
    chance: Callable[[], float] = random.random
    #: lays the audit's chain on by what is new
    chain: Callable[[], object] = lambda: None
    #: nothing more is begun
    stopped: threading.Event = field(default_factory=threading.Event)
    _bell: Bell[str] = field(init=False)
    _rung: dict[str, float] = field(default_factory=dict)
    #: whether a ring has been heard since the last round that rang
    _heard: bool = True
    _hands: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(HANDS))

    def __post_init__(self) -> None:
        self._bell = Bell(self._ring)

    def relay(self) -> None:
        """Ring for every delivery that is due, and look after leases that no worker is left to look after.

        Rings that went unheard are not waited for: what is due is delivered all the same (decision 7).
        """
        swept(self.jobs.sweep(patience_seconds=self.patience_seconds))
        due = self.outbox.due()
        if not due:
            return
        if not self._heard:
            self._deliver_unasked(due)
        self._heard = False
        now = time.monotonic()
        # list: other threads take theirs out meanwhile
        self._rung = {i: at for i, at in list(self._rung.items()) if now - at < RING_AGAIN_SECONDS}
        self._ask([delivery_id for delivery_id in due if delivery_id not in self._rung])

    def _ask(self, delivery_ids: Sequence[str]) -> None:
        # Noted first: a ring may be heard, and its note taken out, before the bell comes back.
        self._rung |= dict.fromkeys(delivery_ids, time.monotonic())
        self._bell(*delivery_ids)

    def _ring(self, delivery_ids: Sequence[str]) -> bool:
        taken = ring_deliveries(delivery_ids)
        if not taken:
            self._rung = {}  # the next round rings again
        return taken

    def _deliver_unasked(self, due: Sequence[str]) -> None:
        left = deque(due)
        for _ in due:
            if not self._hands.acquire(blocking=False):
                return
            threading.Thread(target=self._work_off, args=(left,), name="hand", daemon=True).start()

    def _work_off(self, left: deque[str]) -> None:
        try:
            with suppress(IndexError):
                while True:
                    self.deliver(left.popleft())
        except StoreUnavailable:
            logger.warning("store.unavailable")
        except Exception as error:  # noqa: BLE001  # its lease runs out, and a later round has it again
            logger.error("round.error", **log.kind_and_place(error))
        finally:
            self._hands.release()

    def hear(self, delivery_id: str) -> None:
        """A ring was heard."""
        self._heard = True
        self.deliver(delivery_id)

    def deliver(self, delivery_id: str) -> None:
        """One attempt; after a good one the next that is due to its endpoint, and so on.

        Those were rung for in vain while the endpoint was busy. Not for ever: others wait for this thread.
        """
        delivery, end = self._claimed(delivery_id), time.monotonic() + IN_A_ROW_SECONDS
        while delivery is not None:
            with structlog.contextvars.bound_contextvars(**account.log_context(delivery)):
                outcome = self._attempt(delivery)
            endpoint_id = delivery.endpoint.id
            if outcome.status is DeliveryStatus.PENDING:
                return
            if time.monotonic() >= end or self.stopped.is_set():
                self._ask(self.outbox.due(limit=1, endpoint_id=endpoint_id))
                return
            delivery = self._next_to(endpoint_id)

    def _claimed(self, delivery_id: str) -> Delivery | None:
        """Under a lease that is longer than the attempt may take. It may be rung for again from now on."""
        self._rung.pop(delivery_id, None)
        return self.outbox.claim(delivery_id, lease_seconds=2 * self.attempt_seconds)

    def _next_to(self, endpoint_id: str) -> Delivery | None:
        """Others go on to the same endpoint: the first that is due may be theirs by now."""
        due = self.outbox.due(limit=IN_FLIGHT_PER_ENDPOINT, endpoint_id=endpoint_id)
        return next(filter(None, map(self._claimed, due)), None)

    def _attempt(self, delivery: Delivery) -> Outcome:
        began = account.now()
        outcome = self.telling.attempt(delivery, now=datetime.now(UTC), chance=self.chance())
        account.attempted(delivery, outcome, began=began)
        logger.info(
            "delivery.attempted",
            channel=account.channel_of(delivery),
            status=outcome.status.value,
            http_status=outcome.http_status,
            reason=outcome.reason,
        )
        try:
            self.outbox.record(delivery, outcome)
        except LeaseLost:
            logger.warning("delivery.lease_lost")
        return outcome


_installed: list[Courier] = []


def install(courier: Courier) -> None:
    """Give the tasks of this process their courier. Called once, by the program."""
    _installed[:] = [courier]


@app.task(name=DELIVER_WEBHOOK)
def deliver(delivery_id: str) -> None:
    """Before: due. After: delivered, due later, or in other hands."""
    for courier in _installed:
        courier.hear(delivery_id)


@worker_shutting_down.connect
def _stop(**__: object) -> None:
    """SIGTERM or SIGINT. Celery waits for the running tasks, which begin nothing more."""
    for courier in _installed:
        courier.stopped.set()


@app.task(name=SUBMIT, bind=True)
def submit(self: Task, request: dict[str, Any]) -> None:
    """Before: a request in a message. After: a job in the store, one, however often it is delivered.

    No queue limit holds here: nobody hears a refusal, and a message left in the broker waits in memory, with
    its question, where a row waits on disk. Its row counts towards the limit of those who can be told.
    """
    for courier in _installed:
        headers = self.request.headers or {}  # where OpenTelemetry's own Celery library puts it
        _store(courier, str(self.request.id), request, traceparent=headers.get("traceparent"))


def _store(
    courier: Courier, message_id: str, body: dict[str, Any], *, traceparent: str | None = None
) -> None:
    began = account.now()
    try:
        request = parse_request(body)
        if request.idempotency_key is None:
            request = request.model_copy(update={"idempotency_key": f"message-{message_id}"})
        stored = courier.jobs.submit(
            request, submitter=CELERY_SUBMITTER, is_limited=False, traceparent=traceparent
        )
    except InputError as error:
        account.refused(error, channel="celery")
        logger.warning("submission.refused", code=error.code, request_id=message_id)
    except StoreUnavailable:
        # Not lost: the message goes to the back of its queue.
        time.sleep(STORE_RETRY_SECONDS)
        raise Reject(requeue=True) from None
    else:
        if stored.is_new:
            account.taken_in(
                [stored.job.id], channel="celery", began=began, traceparent=stored.job.traceparent
            )
        ring_readers([1])
