"""When to try again, on any channel: the schedule of Standard Webhooks, and what the receiver asks for.

In: which attempt failed, a chance between 0 and 1, a `Retry-After` header. Out: how long to wait, or None
when the attempts are used up; or the Outcome that says so. It reads no clock and keeps nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from worker.jobs.event import Delivery, DeliveryStatus, Outcome

#: before each attempt; together 75 h 35 min 5 s (Standard Webhooks, "Deliverability and reliability")
SCHEDULE: tuple[timedelta, ...] = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
#: a wait is this much shorter or longer at most, so that what failed together does not come back together
JITTER = 0.2
#: the longest wait a receiver can ask for
LONGEST = timedelta(hours=24)


def wait_after(attempt: int, *, chance: float, asked: timedelta | None = None) -> timedelta | None:
    """How long to wait when attempt number `attempt`, from 1, has failed; None after the last one.

    What the receiver `asked` for makes the wait longer, never shorter: ten attempts at short notice would be
    used up before a receiver that is down for an hour is back.
    """
    if attempt >= len(SCHEDULE):
        return None
    planned = SCHEDULE[max(attempt, 0)] * (1 - JITTER + 2 * JITTER * chance)
    if asked is None:
        return planned
    return max(planned, min(asked, LONGEST) * (1 + JITTER * chance))


def asked_wait(retry_after: str, *, now: datetime) -> timedelta | None:
    """What a `Retry-After` header asks for, seconds or HTTP-date (RFC 9110, 10.2.3); None if unreadable."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        # Longer numbers than that are the longest wait anyway, and might be more than a timedelta holds.
        return min(timedelta(seconds=int(text[:9])), LONGEST)
    try:
        until = parsedate_to_datetime(text)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return min(max(until - now, timedelta(0)), LONGEST)
    except (ValueError, OverflowError):
        return None


def failed(
    delivery: Delivery,
    *,
    chance: float,
    reason: str,
    http_status: int | None = None,
    asked: timedelta | None = None,
) -> Outcome:
    """What an attempt that failed comes to: due later, or exhausted."""
    wait = wait_after(delivery.attempt, chance=chance, asked=asked)
    status = DeliveryStatus.EXHAUSTED if wait is None else DeliveryStatus.PENDING
    return Outcome(status=status, wait=wait, http_status=http_status, reason=reason)
