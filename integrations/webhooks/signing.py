"""Signatures as Standard Webhooks v1 has them: HMAC-SHA256 over `id.timestamp.body`.

In: secrets, and what is to be signed or verified. Out: the three headers, or nothing, or one error. It does
not know HTTP, and reads no clock. Specification: github.com/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from worker.errors import SecretInvalid, SignatureInvalid

PREFIX = "whsec_"
VERSION = "v1"
TOLERANCE = timedelta(minutes=5)

_KEY_BYTES = range(24, 65)
_NEW_KEY_BYTES = 32
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """What sender and receiver share. Its text is only ever in `text`."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) not in _KEY_BYTES:
            raise SecretInvalid

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises SecretInvalid."""
        if not text.startswith(PREFIX):
            raise SecretInvalid
        try:
            return cls(base64.b64decode(text.removeprefix(PREFIX), validate=True))
        except ValueError:  # binascii.Error, or text that is not ASCII
            raise SecretInvalid from None

    @classmethod
    def new(cls, random_bytes: Callable[[int], bytes]) -> Self:
        """A new secret; `random_bytes` is `secrets.token_bytes`, except in tests."""
        return cls(random_bytes(_NEW_KEY_BYTES))

    @property
    def text(self) -> str:
        return PREFIX + base64.b64encode(self.key).decode("ascii")


def sign(secrets: Sequence[Secret], *, webhook_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of one attempt made `at`, with one signature for each secret, in their order.

    While a rotation lasts there are two, the newest first. Raises ValueError for what cannot be signed so
    that it means one thing: no secret, a full stop in the id, a time without its zone.
    """
    if not secrets or "." in webhook_id or at.tzinfo is None:
        raise ValueError("signing needs a secret, an id without a full stop and a time with its zone")
    timestamp = str(int(at.timestamp()))
    signatures = (_signature(secret, webhook_id, timestamp, body) for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def verify(
    secrets: Sequence[Secret],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    tolerance: timedelta = TOLERANCE,
) -> None:
    """Return if any signature was made with any of the secrets, of this very body, about now.

    `body` is what came over the wire, never JSON that was read and written again. Raises SignatureInvalid.
    """
    named = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp = named.get("webhook-id", ""), named.get("webhook-timestamp", "")
    if not webhook_id or "." in webhook_id or not _UNIX_SECONDS.fullmatch(timestamp):
        raise SignatureInvalid
    if abs(now.timestamp() - int(timestamp)) > tolerance.total_seconds():
        raise SignatureInvalid
    given = [word.encode("utf-8", "replace") for word in named.get("webhook-signature", "").split(" ")]
    expected = [_signature(secret, webhook_id, timestamp, body).encode("ascii") for secret in secrets]
    # Every pair is compared, so that the time taken does not tell which one fitted.
    fits = [hmac.compare_digest(one, other) for one in given for other in expected]
    if not any(fits):
        raise SignatureInvalid


def _signature(secret: Secret, webhook_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digest = hmac.digest(secret.key, signed, "sha256")
    return f"{VERSION},{binascii.b2a_base64(digest, newline=False).decode('ascii')}"
