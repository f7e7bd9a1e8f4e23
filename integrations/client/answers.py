"""Answers: a document, or the error that an answer means.

In: an Answer or Lost. Out: JSON, or an error of this client's tree. RFC 9457 (problem documents), RFC 9110
10.2.3 (Retry-After).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from integrations.client.errors import PathlaneError, Refused, Unavailable
from integrations.client.steps import Answer, Lost


def document_of(answer: Answer) -> dict[str, Any]:
    """Raises Refused: something on the way answered in the gateway's place."""
    document = _json(answer)
    if not isinstance(document, dict):
        raise unreadable(answer.status)
    return document


def error_of(came: Answer | Lost, *, now: datetime) -> PathlaneError | None:
    """None: it is a success."""
    if isinstance(came, Lost):
        return Unavailable("no_answer", came.reason)
    if came.status // 100 == 2:
        return None
    problem = _json(came)
    problem = problem if isinstance(problem, dict) else {}
    kind = Unavailable if came.status == 429 or came.status >= 500 else Refused
    return kind(
        str(problem.get("code") or f"http_{came.status}"),
        str(problem.get("detail") or ""),
        status=came.status,
        retry_after=retry_after(came.headers, now=now),
        problems=[(str(one.get("field")), str(one.get("reason"))) for one in problem.get("errors") or ()],
    )


def unreadable(status: int) -> Refused:
    return Refused("unreadable", "This is no answer of Pathlane's: look at the URL.", status=status)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds from now; None where it is not said, or not understood."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.content)
    except ValueError:  # also what is not UTF-8
        return None
