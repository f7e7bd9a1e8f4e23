"""What an attempt comes to when it failed: due later, or exhausted.

In: a delivery, a word for the reason, the channel's schedule. Out: an Outcome. The schedule is whatever the
caller passes in.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from worker.jobs.event import Delivery, DeliveryStatus, Outcome


class WaitAfter(Protocol):
    """A schedule: `integrations.webhooks.backoff.wait_after` is one."""

    def __call__(self, attempt: int, *, chance: float, asked: timedelta | None = None) -> timedelta | None:
        """How long to wait when attempt number `attempt` has failed; None after the last one."""


def failed(
    delivery: Delivery,
    wait_after: WaitAfter,
    *,
    chance: float,
    reason: str,
    http_status: int | None = None,
    asked: timedelta | None = None,
) -> Outcome:
    wait = wait_after(delivery.attempt, chance=chance, asked=asked)
    status = DeliveryStatus.EXHAUSTED if wait is None else DeliveryStatus.PENDING
    return Outcome(status=status, wait=wait, http_status=http_status, reason=reason)
