"""Webhooks, at the receiver: who sent it, when, and what it says.

In: the bytes and the headers of one request, and the endpoint's secret. Out: an Event, or WebhookRefused.
Specification: github.com/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from integrations.client.errors import WebhookRefused

PREFIX: Final = "whsec_"
#: seconds between the sender's clock and ours, either way
TOLERANCE: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    #: the `webhook-id`: the same whenever this event is sent again, so keep it, and do nothing twice
    id: str
    #: job.succeeded, job.failed, job.cancelled, endpoint.test
    type: str
    #: when it happened, RFC 3339
    timestamp: str
    #: docs/reference/events.md
    data: Mapping[str, Any] = field(repr=False)

    @property
    def job_id(self) -> str | None:
        """None: a test event."""
        return self.data.get("job_id")


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> Event:
    """The event, if it was signed with `secret` and about now; call this before anything else reads the body.

    The trap: what is signed are the bytes that came. JSON that was parsed and written again is another text
    (spaces, order, `é` or `\\u00e9`) with another signature, though it says the same. So give `body` as it
    came over the wire: `request.get_data()` (Flask), `request.body` (Django), `await request.body()`
    (FastAPI, Starlette), `self.rfile.read(length)` (http.server); never `json.dumps(request.json)`.

    Names of headers may be written in any way. While a secret is rotated two signatures come, and one of them
    must fit; a receiver may give two secrets as well. `now` is in Unix seconds, for tests. Raises
    WebhookRefused; TypeError for a body that is not bytes; ValueError for a secret that is none.
    """
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError("verify() needs the bytes that came, before anything decoded or parsed them")
    named = {name.lower(): value for name, value in headers.items()}
    webhook_id, at = named.get("webhook-id", ""), named.get("webhook-timestamp", "")
    if not webhook_id or not (at.isascii() and at.isdigit()) or len(at) > 12:
        raise WebhookRefused("Its headers are missing or malformed.")
    if abs((time.time() if now is None else now) - int(at)) > tolerance:
        raise WebhookRefused("It was signed too long ago, or a clock is wrong.")
    signed = f"{webhook_id}.{at}.".encode() + bytes(body)
    given = [one.encode("utf-8", "replace") for one in named.get("webhook-signature", "").split(" ")]
    expected = [_signature(one, signed) for one in ([secret] if isinstance(secret, str) else secret)]
    # All are compared, so that the time taken does not tell which one fitted.
    fits = [hmac.compare_digest(one, other) for one in given for other in expected]
    if not any(fits):
        raise WebhookRefused("No signature fits: another secret, or a body that is not as it came.")
    return _event(webhook_id, bytes(body))


def _signature(secret: str, signed: bytes) -> bytes:
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("a webhook secret is `whsec_` and base64")
    return b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))


def _event(webhook_id: str, body: bytes) -> Event:
    try:
        document = json.loads(body)
        kind, at, data = document["type"], document["timestamp"], document["data"]
    except (ValueError, TypeError, KeyError):
        raise WebhookRefused("Its body is not an event.") from None
    if not isinstance(data, dict):
        raise WebhookRefused("Its body is not an event.")
    return Event(id=webhook_id, type=str(kind), timestamp=str(at), data=data)
