"""One attempt to deliver: a Delivery goes out as one signed POST, and an Outcome comes back.

In: a delivery, a client (`worker.pinned.pinned_client`, which holds the time limit and the operator's
list), the time and a chance. Out: an Outcome, whatever the receiver does. It does not know the outbox, keeps
nothing of the receiver's answer but its status, and logs nothing.
"""

from __future__ import annotations

import socket
import ssl
from datetime import datetime
from typing import Final

import httpx

from integrations.schedule import asked_wait, failed
from integrations.webhooks.signing import Secret, sign
from worker import __version__
from worker.errors import AddressRefused, SecretInvalid
from worker.jobs.event import Delivery, DeliveryStatus, Outcome

#: read of an answer's body, and thrown away, so that the receiver can finish writing it
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
        answer = _send(delivery, client, now)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, AddressRefused, SecretInvalid) as error:
        return failed(delivery, chance=chance, reason=reason_of(error))
    return _judged(delivery, answer, now=now, chance=chance)


def reason_of(error: BaseException) -> str:
    """One word for the log; of a failed connection, what the OSError behind it says, where that is more."""
    behind = error.__cause__ if isinstance(error, httpx.NetworkError) else None
    return (behind and _word(behind)) or _word(error)


def _word(error: BaseException) -> str:
    return next((REASONS[base] for base in type(error).__mro__ if base in REASONS), "")


def _send(delivery: Delivery, client: httpx.Client, now: datetime) -> httpx.Response:
    secrets = [Secret.read(text) for text in delivery.endpoint.secrets]
    headers = {
        **sign(secrets, webhook_id=delivery.id, at=now, body=delivery.body),
        "content-type": "application/json",
        "user-agent": f"pathlane/{__version__}",
        "accept-encoding": "identity",
    }
    with client.stream("POST", delivery.endpoint.url, content=delivery.body, headers=headers) as answer:
        _read_some(answer)
    return answer


def _read_some(answer: httpx.Response) -> None:
    """The status has come and decides; what happens to the rest of the answer cannot change it."""
    room = ANSWER_BYTES
    try:
        for chunk in answer.iter_raw():
            room -= len(chunk)
            if room < 0:
                break
    except (httpx.HTTPError, httpx.StreamError):
        return


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
