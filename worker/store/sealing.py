"""Sealing: what must not be read from a copy of the database.

In: bytes and the operator's keys. Out: sealed bytes (Fernet: AES-128-CBC with HMAC-SHA256), and keyed
digests for looking an identifier up without storing it. It does not know what the bytes are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from worker.errors import SealBroken
from worker.settings import Settings, SettingsError


def seal_of(settings: Settings) -> Seal:
    """With the keys of PATHLANE_SEAL_KEYS_FILE, the newest first. Raises SettingsError."""
    file = settings.lis.seal_keys_file
    if file is None:
        raise SettingsError("PATHLANE_SEAL_KEYS_FILE: a file with the keys that seal messages is needed")
    try:
        return Seal(file.read_text().split())
    except (OSError, ValueError, IndexError):
        raise SettingsError("PATHLANE_SEAL_KEYS_FILE: no file with keys, one a line") from None


class Seal:
    """Seals with the first key, opens with any: put a new key in front, and keep the old ones."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` are 32 random bytes each, urlsafe base64. Raises ValueError for anything else."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # The last key is the oldest: digests stay what they were when a new one is put in front.
        self._digest_key = hashlib.sha256(
            b"pathlane identifiers" + base64.urlsafe_b64decode(keys[-1])
        ).digest()

    @staticmethod
    def new_key() -> str:
        return Fernet.generate_key().decode()

    def close(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def open(self, sealed: bytes) -> bytes:
        """Raises SealBroken: no key of ours made it, or it was changed."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise SealBroken from None

    def close_json(self, value: Any) -> bytes:
        return self.close(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    def open_json(self, sealed: bytes) -> Any:
        return json.loads(self.open(sealed))

    def digest(self, *parts: str) -> str:
        """The same for the same identifier, and of no use to anyone without the key."""
        return hmac.new(self._digest_key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()
