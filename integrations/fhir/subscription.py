"""Subscriptions: FHIR R4 topic subscriptions as the R5 backport profile (STU 1.1) has them, over rest-hook.

In: what the operator wants to hear; then notifications, one by one, and what was seen before. Out: the
Subscription to create; for each notification what it brings, which events are missing, and the state to keep.
It keeps nothing itself, sends nothing and knows no route.

Events carry numbers without a hole. `Seen` says up to which number all have come, and which came ahead; a
hole is told as a `gap`, again with every notification, until `$events` has filled it or it is given up.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from integrations.fhir.elements import Element, each, instant, one, text
from worker.errors import FhirUnreadable, NotAllowed

_PROFILE: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
#: events beyond a hole that are remembered; more are fetched again with the hole
AHEAD: Final = 1000
#: more digits than any server will count to
DIGITS: Final = 18


class Content(StrEnum):
    """How much a notification carries."""

    ID_ONLY = "id-only"  #: references: what they lead to is read afterwards
    FULL_RESOURCE = "full-resource"


class Kind(StrEnum):
    """R4B value set SubscriptionNotificationType."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT = "event-notification"
    QUERY_STATUS = "query-status"
    QUERY_EVENT = "query-event"  #: the answer of `$events`


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Which events of one subscription have come."""

    #: all up to this one, from 1
    last_event: int = 0
    #: later ones that came before a hole was filled, in order
    ahead: tuple[int, ...] = ()

    def with_events(self, numbers: Iterable[int]) -> Self:
        later = sorted({*self.ahead, *(number for number in numbers if number > self.last_event)})
        last = self.last_event
        while later and later[0] == last + 1:
            last = later.pop(0)
        return replace(self, last_event=last, ahead=tuple(later[:AHEAD]))

    def gap(self, newest: int) -> range | None:
        """The first hole below `newest`, the highest number known of."""
        end = self.ahead[0] if self.ahead else newest + 1
        return range(self.last_event + 1, end) if end > self.last_event + 1 else None

    def given_up(self, gap: range) -> Self:
        """As if the events of `gap` had come: the server no longer has them."""
        if gap.start > self.last_event + 1:
            return self
        return replace(self, last_event=max(self.last_event, gap.stop - 1)).with_events(())


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Event:
    number: int
    #: what it is about: a reference, `` where the notification is empty
    focus: str
    #: what else it names
    context: tuple[str, ...] = ()
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Notice:
    """What one notification says."""

    kind: Kind
    #: of the subscription: `requested`, `active`, `error`, `off`
    status: str
    events: tuple[Event, ...]
    #: events that have not come: ask for them with `$events`
    gap: range | None
    #: to be kept with what the events brought, in one transaction
    state: Seen
    #: the resources that came with it
    bundle: dict[str, Any]


def subscription(
    *,
    topic: str,
    endpoint: str,
    secret: str,
    content: Content = Content.ID_ONLY,
    filters: Sequence[str] = (),
    header: str = "Authorization: Bearer",
    heartbeat_seconds: int = 300,
    timeout_seconds: int = 30,
    events_at_most: int = 20,
    end: datetime | None = None,
) -> dict[str, Any]:
    """The Subscription to create. `topic` is a canonical URL, `filters` are searches: `Task?owner=Device/1`.

    The server sends `secret` after `header` with every notification.
    """
    resource = {
        "resourceType": "Subscription",
        "meta": {"profile": [f"{_PROFILE}backport-subscription"]},
        "status": "requested",
        "reason": "Slides to be read",
        "criteria": topic,
        "channel": {
            "extension": [
                {"url": f"{_PROFILE}backport-heartbeat-period", "valueUnsignedInt": heartbeat_seconds},
                {"url": f"{_PROFILE}backport-timeout", "valueUnsignedInt": timeout_seconds},
                {"url": f"{_PROFILE}backport-max-count", "valuePositiveInt": events_at_most},
            ],
            "type": "rest-hook",
            "endpoint": endpoint,
            "payload": "application/fhir+json",
            "_payload": {
                "extension": [{"url": f"{_PROFILE}backport-payload-content", "valueCode": content.value}]
            },
            "header": [f"{header} {secret}"],
        },
    }
    if filters:
        criteria = [
            {"url": f"{_PROFILE}backport-filter-criteria", "valueString": search} for search in filters
        ]
        resource["_criteria"] = {"extension": criteria}
    return resource | ({"end": end.isoformat(timespec="seconds")} if end else {})


def authenticate(
    headers: Mapping[str, str], secrets: Sequence[str], *, header: str = "Authorization: Bearer"
) -> None:
    """Whether a notification came from whom we told a secret; two secrets while a rotation lasts.

    `headers` by lower-case name. Raises NotAllowed. The time it takes does not tell which secret was close.
    """
    name, _, scheme = header.partition(":")
    given = headers.get(name.strip().lower(), "").encode()
    expected = [f"{scheme.strip()} {secret}".strip().encode() for secret in secrets if secret]
    if not any([hmac.compare_digest(given, secret) for secret in expected]):  # noqa: C419  # every one is compared
        raise NotAllowed


def notice(bundle: Element, seen: Seen, *, subscription_id: str) -> Notice:
    """What a notification, or the answer of `$events`, says in the light of what was `seen`.

    Raises FhirUnreadable when it is no notification of this subscription.
    """
    status = _status(bundle)
    if status.subscription.rpartition("/")[2] != subscription_id:
        raise FhirUnreadable("It is no notification of this subscription.")
    if status.kind is Kind.HANDSHAKE and status.total < seen.last_event:
        seen = Seen(last_event=status.total)  # the subscription was made anew and counts from the start
    events = status.events
    if status.kind is Kind.EVENT and not events:
        events = (Event(number=status.total, focus=""),) if status.total else ()
    state = seen.with_events(event.number for event in events)
    newest = max([event.number for event in events], default=status.total)
    return Notice(
        kind=status.kind,
        status=status.status,
        events=events,
        gap=state.gap(newest),
        state=state,
        bundle={"resourceType": "Bundle", "type": "collection", "entry": each(bundle, "entry")[1:]},
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Status:
    subscription: str
    kind: Kind
    status: str
    #: eventsSinceSubscriptionStart
    total: int
    events: tuple[Event, ...]


def _status(bundle: Element) -> _Status:
    """The first entry: Parameters in R4, SubscriptionStatus in R4B."""
    first = next(iter(each(bundle, "entry")), {}) if isinstance(bundle, Mapping) else {}
    resource = one(first, "resource")
    readers = {"Parameters": _from_parameters, "SubscriptionStatus": _from_subscription_status}
    reader = readers.get(text(resource, "resourceType"))
    if reader is None:
        raise FhirUnreadable("A notification begins with the status of its subscription.")
    try:
        return reader(resource)
    except ValueError:
        raise FhirUnreadable("The status of the subscription cannot be read.") from None


def _from_parameters(resource: Element) -> _Status:
    parts = each(resource, "parameter")
    return _Status(
        subscription=text(one(_part(parts, "subscription"), "valueReference"), "reference"),
        kind=Kind(text(_part(parts, "type"), "valueCode")),
        status=text(_part(parts, "status"), "valueCode"),
        total=_number(_value(_part(parts, "events-since-subscription-start"))),
        events=tuple(
            Event(
                number=_number(_value(_part(event, "event-number"))),
                focus=text(one(_part(event, "focus"), "valueReference"), "reference"),
                context=tuple(
                    text(one(part, "valueReference"), "reference")
                    for part in event
                    if text(part, "name") == "additional-context"
                ),
                occurred_at=instant(text(_part(event, "timestamp"), "valueInstant")),
            )
            for event in (each(part, "part") for part in parts if text(part, "name") == "notification-event")
        ),
    )


def _from_subscription_status(resource: Element) -> _Status:
    return _Status(
        subscription=text(one(resource, "subscription"), "reference"),
        kind=Kind(text(resource, "type")),
        status=text(resource, "status"),
        total=_number(resource.get("eventsSinceSubscriptionStart")),
        events=tuple(
            Event(
                number=_number(event.get("eventNumber")),
                focus=text(one(event, "focus"), "reference"),
                context=tuple(text(item, "reference") for item in each(event, "additionalContext")),
                occurred_at=instant(text(event, "timestamp")),
            )
            for event in each(resource, "notificationEvent")
        ),
    )


def _part(parts: Iterable[Element], name: str) -> Element:
    return next((part for part in parts if text(part, "name") == name), {})


def _value(part: Element) -> Any:
    """Profiles before STU 1.1 had the numbers as numbers."""
    return next((part[key] for key in part if key.startswith("value")), None)


def _number(value: Any) -> int:
    """Raises ValueError; 0 where there is none."""
    digits = "0" if value is None else str(value)
    if isinstance(value, bool) or not (digits.isascii() and digits.isdigit() and len(digits) <= DIGITS):
        raise ValueError
    return int(digits)
