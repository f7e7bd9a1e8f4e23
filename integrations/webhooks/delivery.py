"""One attempt to deliver: a Delivery goes out as one signed POST, and an Outcome comes back.

In: a delivery, a client (`worker.pinned.pinned_client`, which holds the time limit and the operator's
list), the time and a chance. Out: an Outcome, whatever the receiver does, with the first kilobyte of what it
answered. It does not know the outbox, and logs nothing.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

import httpx

from integrations.schedule import asked_wait, failed
from integrations.webhooks.signing import Secret, sign
from worker import __version__
from worker.errors import AddressRefused, SecretInvalid
from worker.jobs.event import ANSWER_KEPT, Delivery, DeliveryStatus, Outcome

#: read of an answer's body, most of it thrown away, so that the receiver can finish writing it
ANSWER_BYTES: Final = 64 * 1024

#: the specification asks to slow down on these; 503 is where RFC 9110 names Retry-After
BUSY: Final = frozenset({429, 502, 503, 504})

#: the nearest class decides; a test goes through all of httpx's exceptions
REASONS: Final[dict[type[BaseException], str]] = {
    httpx.TimeoutException: "timeout",
    httpx.ConnectError: "unreachable",
    httpx.NetworkError: "dropped",
    httpx.RemoteProtocolError: "dropped",
    httpx.ProtocolError: "unsendable",
    httpx.ProxyError: "proxy",
    httpx.UnsupportedProtocol: "url",
    httpx.InvalidURL: "url",
    # httpx lets idna's errors through for a name like xn--a, ours or the one a redirect points to.
    UnicodeError: "url",
    httpx.HTTPError: "transport",
    socket.gaierror: "dns",
    ssl.SSLError: "tls",
    ConnectionRefusedError: "refused",
    AddressRefused: "address_refused",
    SecretInvalid: "secret",
}


def attempt(delivery: Delivery, client: httpx.Client, *, now: datetime, chance: float) -> Outcome:
    """Send `delivery` once. `now` is signed as the time of this attempt; `chance` (0 to 1) is for jitter."""
    try:
        answer, said = _send(delivery, client, now)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, AddressRefused, SecretInvalid) as error:
        return failed(delivery, chance=chance, reason=reason_of(error))
    return replace(_judged(delivery, answer, now=now, chance=chance), answer=said)


def reason_of(error: BaseException) -> str:
    """One word for the log; of a failed connection, what the OSError behind it says, where that is more."""
    behind = error.__cause__ if isinstance(error, httpx.NetworkError) else None
    return (behind and _word(behind)) or _word(error)


def _word(error: BaseException) -> str:
    return next((REASONS[base] for base in type(error).__mro__ if base in REASONS), "")


def _send(delivery: Delivery, client: httpx.Client, now: datetime) -> tuple[httpx.Response, bytes]:
    secrets = [Secret.read(text) for text in delivery.endpoint.secrets]
    headers = {
        **sign(secrets, webhook_id=delivery.id, at=now, body=delivery.body),
        "content-type": "application/json",
        "user-agent": f"pathlane/{__version__}",
        "accept-encoding": "identity",
    }
    with client.stream("POST", delivery.endpoint.url, content=delivery.body, headers=headers) as answer:
        return answer, _read_some(answer)


def _read_some(answer: httpx.Response) -> bytes:
    """Its first bytes. The status has come and decides; what happens to the rest cannot change it."""
    room, said = ANSWER_BYTES, b""
    with suppress(httpx.HTTPError, httpx.StreamError):
        for chunk in answer.iter_raw():
            said += chunk[: ANSWER_KEPT - len(said)]
            room -= len(chunk)
            if room < 0:
                break
    return said


def _judged(delivery: Delivery, answer: httpx.Response, *, now: datetime, chance: float) -> Outcome:
    status = answer.status_code
    if answer.is_success:
        return Outcome(status=DeliveryStatus.DELIVERED, http_status=status)
    if status == httpx.codes.GONE:
        return Outcome(status=DeliveryStatus.GONE, http_status=status, reason="gone")
    if status in BUSY:
        asked = asked_wait(answer.headers.get("retry-after", ""), now=now)
        return failed(delivery, chance=chance, http_status=status, reason="busy", asked=asked)
    reason = "redirect" if status // 100 == 3 else "not_accepted"
    return failed(delivery, chance=chance, http_status=status, reason=reason)
