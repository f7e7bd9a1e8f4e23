"""One attempt to deliver a report by STOW-RS: one POST, one object, one Outcome.

In: a delivery, the report's bytes, an endpoint, a client (`worker.pinned.pinned_client`, which holds the time
limit and the operator's list), a chance. Out: an Outcome, whatever the server does. It does not know the
outbox, and logs nothing. Of the answer it reads which object was stored, PS3.18 section 10.5.
"""

from __future__ import annotations

import hashlib
import io
import json
import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import httpx
from pydicom import dcmread

from integrations.dicom.endpoint import DicomWeb
from integrations.schedule import failed
from worker import __version__
from worker.errors import AddressRefused
from worker.jobs.event import Delivery, DeliveryStatus, Outcome

#: read of an answer's body at most
ANSWER_BYTES: Final = 64 * 1024

#: the nearest class decides
REASONS: Final[dict[type[BaseException], str]] = {
    httpx.TimeoutException: "timeout",
    httpx.ConnectError: "unreachable",
    httpx.NetworkError: "dropped",
    httpx.RemoteProtocolError: "dropped",
    httpx.InvalidURL: "url",
    UnicodeError: "url",
    httpx.HTTPError: "transport",
    socket.gaierror: "dns",
    ssl.SSLError: "tls",
    ConnectionRefusedError: "refused",
    AddressRefused: "address_refused",
}
_STATUSES: Final = {
    httpx.codes.UNAUTHORIZED: "not_authorised",
    httpx.codes.FORBIDDEN: "not_authorised",
    httpx.codes.REQUEST_ENTITY_TOO_LARGE: "too_large",
    httpx.codes.UNSUPPORTED_MEDIA_TYPE: "media_type",
    **dict.fromkeys((429, 502, 503, 504), "busy"),
}
#: Referenced SOP Sequence, Failed SOP Sequence, Referenced SOP Instance UID, Failure Reason
_STORED, _FAILED, _INSTANCE, _REASON = "00081199", "00081198", "00081155", "00081197"
#: the object is there already: the report is the same for the same job
_DUPLICATE = 0x0111
_LONGEST_WAIT = timedelta(hours=24)


def attempt(
    delivery: Delivery,
    report: bytes,
    peer: DicomWeb,
    client: httpx.Client,
    *,
    chance: float,
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    """Post `report`, a DICOM file of our own making, once. `headers`: what the server wants to let us in."""
    try:
        status, retry_after, body = _post(report, peer, client, headers or {})
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, AddressRefused) as error:
        return failed(delivery, chance=chance, reason=_word(error))
    if status == httpx.codes.GONE:
        return Outcome(status=DeliveryStatus.GONE, http_status=status, reason="gone")
    stored = _stored(status, body, report)
    if stored is not None:
        return Outcome(status=DeliveryStatus.DELIVERED, http_status=status, reason=stored)
    return failed(
        delivery,
        chance=chance,
        http_status=status,
        reason=_STATUSES.get(status, "redirect" if status // 100 == 3 else "not_accepted"),
        asked=retry_after,
    )


def _post(
    report: bytes, peer: DicomWeb, client: httpx.Client, headers: Mapping[str, str]
) -> tuple[int, timedelta | None, bytes]:
    boundary = hashlib.sha256(report).hexdigest()  # occurs in no file that it is the digest of
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    content = head + report + f"\r\n--{boundary}--\r\n".encode()
    sent = {
        **headers,
        "content-type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "accept": "application/dicom+json",
        "user-agent": f"pathlane/{__version__}",
        "accept-encoding": "identity",
    }
    with client.stream("POST", peer.studies, content=content, headers=sent) as answer:
        body = _some(answer)
    return answer.status_code, _asked(answer.headers.get("retry-after", "")), body


def _some(answer: httpx.Response) -> bytes:
    """The status has come and decides; a body that is cut off or too long says nothing."""
    body = b""
    try:
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > ANSWER_BYTES:
                return b""
    except (httpx.HTTPError, httpx.StreamError):
        return b""
    return body


def _asked(retry_after: str) -> timedelta | None:
    """Seconds only (RFC 9110, 10.2.3); a date is left to the schedule."""
    text = retry_after.strip()
    return min(timedelta(seconds=int(text[:9])), _LONGEST_WAIT) if text.isascii() and text.isdigit() else None


def _stored(status: int, body: bytes, report: bytes) -> str | None:
    """ "" or a word where the server has the report; None where it has not.

    200 and 202 name what was stored and what was not; where the body says nothing of our object, 200 says it.
    """
    said = _json(body)
    ours = str(dcmread(io.BytesIO(report), specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    if _item(said, _FAILED, ours) is not None:
        return "duplicate" if _failure(_item(said, _FAILED, ours)) == _DUPLICATE else None
    if status not in (httpx.codes.OK, httpx.codes.ACCEPTED):
        return None
    if _item(said, _STORED, ours) is not None:
        return "" if status == httpx.codes.OK else "warning"
    return "" if status == httpx.codes.OK and _FAILED not in said else None


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _item(said: dict[str, Any], sequence: str, instance: str) -> dict[str, Any] | None:
    for item in _values(said, sequence):
        if isinstance(item, dict) and instance in _values(item, _INSTANCE):
            return item
    return None


def _failure(item: dict[str, Any] | None) -> int | None:
    values = _values(item or {}, _REASON)
    return values[0] if values and isinstance(values[0], int) else None


def _values(item: dict[str, Any], tag: str) -> list[Any]:
    """DICOM JSON: `{"00081155": {"vr": "UI", "Value": [...]}}` (PS3.18 annex F)."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _word(error: BaseException) -> str:
    behind = error.__cause__ if isinstance(error, httpx.NetworkError) else None
    return (behind and _nearest(behind)) or _nearest(error)


def _nearest(error: BaseException) -> str:
    return next((REASONS[base] for base in type(error).__mro__ if base in REASONS), "")
