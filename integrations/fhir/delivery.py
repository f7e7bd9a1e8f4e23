"""One attempt to deliver: a result goes to its FHIR server as one transaction, and an Outcome comes back.

In: a delivery, the Bundle, the server, the time, a chance, and the schedule of attempts, which is a function
it is given. Out: an Outcome, whatever the server does. It does not know the outbox and logs nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from integrations.fhir.client import FhirServer
from integrations.schedule import asked_wait, failed
from worker.errors import AddressRefused, FhirRejected, FhirUnavailable, TokenRefused
from worker.jobs.event import Delivery, DeliveryStatus, Outcome


def attempt(
    delivery: Delivery,
    bundle: dict[str, Any],
    server: FhirServer,
    *,
    now: datetime,
    chance: float,
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
        return failed(
            delivery, chance=chance, reason=error.reason, http_status=error.http_status, asked=asked
        )
    except AddressRefused:
        return failed(delivery, chance=chance, reason="address_refused")
    return Outcome(status=DeliveryStatus.DELIVERED, http_status=200)
