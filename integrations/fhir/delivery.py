"""One attempt to deliver: a result goes to its FHIR server as one transaction, and an Outcome comes back.

In: a delivery, the Bundle, the server, the time, a chance, and the schedule of attempts, which is a function
it is given. Out: an Outcome, whatever the server does. It does not know the outbox and logs nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from integrations.fhir.client import FhirServer
from worker.errors import AddressRefused, FhirRejected, FhirUnavailable, TokenRefused
from worker.jobs.event import Delivery, DeliveryStatus, Outcome


class WaitAfter(Protocol):
    """How long to wait when attempt number `attempt`, from 1, has failed; None after the last one."""

    def __call__(
        self, attempt: int, /, *, chance: float, asked: timedelta | None = None
    ) -> timedelta | None: ...


def attempt(
    delivery: Delivery,
    bundle: dict[str, Any],
    server: FhirServer,
    *,
    now: datetime,
    chance: float,
    wait_after: WaitAfter,
) -> Outcome:
    """Send `bundle` once.

    What the server refuses (4xx) it would refuse again: the delivery is exhausted, and a replay sends it once
    the reason is gone. Anything else is due later.
    """
    try:
        server.transact(bundle)
    except FhirRejected as error:
        reason = "_".join(("rejected", *error.issues))
        return Outcome(status=DeliveryStatus.EXHAUSTED, http_status=error.http_status, reason=reason)
    except TokenRefused:
        return Outcome(status=DeliveryStatus.EXHAUSTED, reason="token_refused")
    except FhirUnavailable as error:
        asked = asked_wait(error.retry_after, now=now)
        wait = wait_after(delivery.attempt, chance=chance, asked=asked)
        return _later(wait, reason=error.reason, http_status=error.http_status)
    except AddressRefused:
        return _later(wait_after(delivery.attempt, chance=chance), reason="address_refused")
    return Outcome(status=DeliveryStatus.DELIVERED, http_status=200)


def asked_wait(retry_after: str, *, now: datetime) -> timedelta | None:
    """What a `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit():
        return timedelta(seconds=int(retry_after[:9]))
    try:
        until = parsedate_to_datetime(retry_after)
        return max((until if until.tzinfo else until.replace(tzinfo=UTC)) - now, timedelta(0))
    except (ValueError, OverflowError):
        return None


def _later(wait: timedelta | None, *, reason: str, http_status: int | None = None) -> Outcome:
    status = DeliveryStatus.EXHAUSTED if wait is None else DeliveryStatus.PENDING
    return Outcome(status=status, wait=wait, http_status=http_status, reason=reason)
