"""Cursors: where a list goes on, as one word that its asker need not understand.

In: positions, and the list they are in. Out: text, and positions again; or InvalidRequest. A cursor holds
times and ids, no text of a case; it is not secret: whoever makes one up sees no row they could not see.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from worker.errors import InvalidRequest
from worker.jobs.request import Priority
from worker.store.pages import Position

_ID = re.compile(r"[0-9A-Za-z_]{1,64}")


def list_name(kind: str, **filters: Any) -> str:
    """The same for the same list: a cursor of another one is refused."""
    canonical = json.dumps(filters, sort_keys=True, default=str)
    return f"{kind} {hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def cursor_of(position: Position | None, name: str) -> str | None:
    if position is None:
        return None
    due = None if position.due is None else _text(position.due)
    values = [name, _text(position.created_at), position.id, position.level, due]
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def position_of(cursor: str | None, name: str) -> Position | None:
    """Raises InvalidRequest."""
    if cursor is None:
        return None
    try:
        words = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        of_list, created_at, row_id, level, due = words
        position = Position(_moment(created_at), row_id, level, None if due is None else _moment(due))
        is_ours = of_list == name and _ID.fullmatch(row_id) and type(level) is int
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise _not_ours() from None
    if not is_ours or level not in range(len(Priority)):
        raise _not_ours()
    return position


def _not_ours() -> InvalidRequest:
    return InvalidRequest((("cursor", "is none of this list"),))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return moment.astimezone(UTC)
