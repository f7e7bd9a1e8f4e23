"""Notifications in and out of order: what they bring, what is missing, what is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from fhir.resources.R4B.subscription import Subscription
from hypothesis import given
from hypothesis import strategies as st

from integrations.fhir.subscription import Content, Kind, Seen, authenticate, notice, subscription
from worker.errors import FhirUnreadable, NotAllowed

PROFILES = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
SERVER = "https://lis.lab.example/fhir"


def notification(kind, *numbers, total=None, status="active", name="sub1", resources=()):
    """As R4 Parameters, after the examples of the guide."""
    total = max(numbers, default=0) if total is None else total
    parameters = [
        {"name": "subscription", "valueReference": {"reference": f"{SERVER}/Subscription/{name}"}},
        {"name": "topic", "valueCanonical": "http://hl7.org/SubscriptionTopic/admission"},
        {"name": "status", "valueCode": status},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(total)},
    ]
    parameters += [
        {
            "name": "notification-event",
            "part": [
                {"name": "event-number", "valueString": str(number)},
                {"name": "timestamp", "valueInstant": "2020-05-29T11:44:13.1882432-05:00"},
                {"name": "focus", "valueReference": {"reference": f"{SERVER}/ImagingStudy/{number}"}},
                {"name": "additional-context", "valueReference": {"reference": "ServiceRequest/1"}},
            ],
        }
        for number in numbers
    ]
    first = {"resource": {"resourceType": "Parameters", "parameter": parameters}}
    return {
        "resourceType": "Bundle",
        "type": "history",
        "entry": [first, *({"resource": r} for r in resources)],
    }


def told(bundle, seen=Seen(), name="sub1"):  # noqa: B008
    return notice(bundle, seen, subscription_id=name)


def test_a_handshake_brings_nothing_and_misses_nothing():
    said = told(notification("handshake", status="requested"))
    assert (said.kind, said.status, said.events, said.gap) == (Kind.HANDSHAKE, "requested", (), None)
    assert said.state == Seen(last_event=0)


def test_events_in_order_leave_no_gap():
    said = told(notification("event-notification", 1, 2), Seen())
    assert [event.number for event in said.events] == [1, 2]
    assert said.events[0].focus == f"{SERVER}/ImagingStudy/1"
    assert said.events[0].context == ("ServiceRequest/1",)
    assert said.events[0].occurred_at == datetime(2020, 5, 29, 16, 44, 13, 188243, tzinfo=UTC)
    assert (said.gap, said.state) == (None, Seen(last_event=2))


def test_resources_come_along_without_the_status():
    study = {"resourceType": "ImagingStudy", "id": "1"}
    assert told(notification("event-notification", 1, resources=[study])).bundle["entry"] == [
        {"resource": study}
    ]


def test_an_event_that_is_missing_is_a_gap_until_it_has_come():
    said = told(notification("event-notification", 5), Seen(last_event=2))
    assert (said.gap, said.state) == (range(3, 5), Seen(last_event=2, ahead=(5,)))
    again = told(notification("event-notification", 6), said.state)
    assert again.gap == range(3, 5)
    filled = told(notification("query-event", 3, 4, total=6), again.state)
    assert (filled.gap, filled.state) == (None, Seen(last_event=6))
    assert [event.number for event in filled.events] == [3, 4]


def test_several_gaps_are_told_one_after_the_other():
    seen = told(notification("event-notification", 2, 5), Seen()).state
    assert seen.gap(5) == range(1, 2)
    seen = told(notification("query-event", 1), seen).state
    assert seen.gap(5) == range(3, 5)


def test_a_heartbeat_tells_of_events_that_never_came():
    said = told(notification("heartbeat", total=4), Seen(last_event=2))
    assert (said.gap, said.state) == (range(3, 5), Seen(last_event=2))
    assert told(notification("heartbeat", total=2), Seen(last_event=2)).gap is None


def test_a_heartbeat_that_was_overtaken_takes_nothing_back():
    said = told(notification("heartbeat", total=2), Seen(last_event=3))
    assert (said.gap, said.state) == (None, Seen(last_event=3))


def test_the_same_event_again_changes_nothing():
    said = told(notification("event-notification", 2), Seen(last_event=3))
    assert (said.gap, said.state) == (None, Seen(last_event=3))


def test_a_subscription_made_anew_counts_from_its_start():
    said = told(notification("handshake", total=0), Seen(last_event=57, ahead=(60,)))
    assert (said.gap, said.state) == (None, Seen())


def test_a_handshake_after_an_outage_tells_what_was_missed():
    assert told(notification("handshake", total=9), Seen(last_event=7)).gap == range(8, 10)


def test_what_the_server_no_longer_has_is_given_up():
    seen = Seen(last_event=2, ahead=(5, 6, 9))
    assert seen.given_up(range(3, 5)) == Seen(last_event=6, ahead=(9,))
    assert seen.given_up(range(7, 9)) == seen  # not while an earlier one may still come


def test_an_empty_notification_is_an_event_without_a_focus():
    bundle = notification("event-notification", 3)
    bundle["entry"][0]["resource"]["parameter"] = bundle["entry"][0]["resource"]["parameter"][:5]
    said = told(bundle, Seen(last_event=2))
    assert [(event.number, event.focus) for event in said.events] == [(3, "")]
    assert said.state == Seen(last_event=3)


def test_r4b_servers_tell_the_same_in_a_resource_of_their_own():
    status = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": "event-notification",
        "eventsSinceSubscriptionStart": "3",
        "subscription": {"reference": "Subscription/sub1"},
        "notificationEvent": [{"eventNumber": "3", "focus": {"reference": "Task/1"}}],
    }
    said = told(
        {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}, Seen(last_event=1)
    )
    assert (said.events[0].focus, said.gap) == ("Task/1", range(2, 3))


def test_a_subscription_in_error_is_told():
    assert told(notification("heartbeat", total=0, status="error")).status == "error"


@pytest.mark.parametrize(
    "bundle",
    [
        None,
        {},
        {"resourceType": "Bundle", "entry": []},
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "id": "CANARY"}}]},
        notification("event-notification", 1, name="CANARY"),
        notification("CANARY", 1),
        notification("event-notification", -1),
        notification("heartbeat", total="CANARY"),
        notification("heartbeat", total="9" * 40),
        notification("heartbeat", total="٣"),
    ],
)
def test_what_is_no_notification_of_ours_is_refused_and_not_quoted(bundle):
    with pytest.raises(FhirUnreadable) as refused:
        told(bundle)
    assert "CANARY" not in repr(refused.value) + str(refused.value)


@given(st.permutations(range(1, 9)), st.data())
def test_in_whatever_order_events_come_everything_is_seen_in_the_end(order, data):
    """Some notifications are lost; whatever gap is told is fetched at once or later."""
    seen, brought = Seen(), set()
    for number in order:
        if data.draw(st.booleans()):
            continue
        said = told(notification("event-notification", number), seen)
        brought |= {event.number for event in said.events}
        seen = said.state
    for _ in range(9):
        said = told(notification("heartbeat", total=8), seen)
        if said.gap is None:
            break
        filled = told(notification("query-event", *said.gap, total=8), said.state)
        brought |= {event.number for event in filled.events}
        seen = filled.state
    assert (seen, brought) == (Seen(last_event=8), set(range(1, 9)))


def test_far_too_many_events_ahead_are_not_all_remembered():
    seen = Seen().with_events(range(2, 10_000))
    assert (seen.last_event, len(seen.ahead)) == (0, 1000)
    assert seen.with_events([1]).last_event == 1001


def test_the_subscription_we_create_has_the_shape_of_r4b_and_the_extensions_of_the_backport():
    resource = subscription(
        topic="http://lis.example/topic/slides", endpoint="https://pathlane.lab.example/fhir/sub1", secret="s3",
        filters=["Task?owner=Device/pathlane"], end=datetime(2027, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    Subscription.model_validate_json(json.dumps(resource))
    assert resource["meta"]["profile"] == [f"{PROFILES}backport-subscription"]
    assert resource["criteria"] == "http://lis.example/topic/slides"
    assert resource["_criteria"]["extension"] == [
        {"url": f"{PROFILES}backport-filter-criteria", "valueString": "Task?owner=Device/pathlane"}
    ]
    channel = resource["channel"]
    assert (channel["type"], channel["payload"]) == ("rest-hook", "application/fhir+json")
    assert channel["_payload"]["extension"] == [
        {"url": f"{PROFILES}backport-payload-content", "valueCode": "id-only"}
    ]
    assert channel["header"] == ["Authorization: Bearer s3"]
    assert resource["status"] == "requested"


def test_the_whole_resource_is_sent_only_where_it_is_asked_for():
    resource = subscription(
        topic="urn:t", endpoint="https://x.example", secret="s", content=Content.FULL_RESOURCE
    )
    assert resource["channel"]["_payload"]["extension"][0]["valueCode"] == "full-resource"
    assert "_criteria" not in resource


@pytest.mark.parametrize("given_secret", ["new", "old"])
def test_either_secret_lets_a_notification_in(given_secret):
    authenticate({"authorization": f"Bearer {given_secret}"}, ["new", "old"])


def test_another_header_may_carry_the_secret():
    authenticate({"x-pathlane": "s"}, ["s"], header="X-Pathlane:")


@pytest.mark.parametrize(
    ("headers", "secrets"),
    [
        ({}, ["s"]),
        ({"authorization": ""}, ["s"]),
        ({"authorization": "s"}, ["s"]),
        ({"authorization": "Bearer S"}, ["s"]),
        ({"authorization": "Bearer ş"}, ["s"]),
        ({"authorization": "Bearer "}, [""]),
        ({"authorization": "Bearer"}, []),
    ],
)
def test_nobody_else_gets_in(headers, secrets):
    with pytest.raises(NotAllowed):
        authenticate(headers, secrets)
