"""Links: an address that opens the console once, so that nobody has to type a key.

In: a key's id, and the gateway's address. Out: the address. What signs in stands behind the `#`, which
browsers send to no server, so that no log holds it.
"""

from __future__ import annotations

import secrets
from typing import Final

from integrations.console.pages import PATH
from worker.store.passes import Passes

#: long enough to go from one window to the other
SECONDS: Final = 600.0


def new_link(passes: Passes, key_id: str, url: str, *, actor: str) -> str:
    word = secrets.token_urlsafe(32)
    passes.link(key_id, word, seconds=SECONDS, actor=actor)
    return f"{url.rstrip('/')}{PATH}#link={word}"
