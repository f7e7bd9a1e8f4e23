"""Polling and gathering: nothing is missed, nothing is read twice, nothing half is taken for whole."""

from __future__ import annotations

import io
import logging
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from integrations.fhir import polling
from integrations.fhir.gathering import gathered
from integrations.fhir.orders import orders_of
from integrations.fhir.polling import Cursor, poll
from integrations.fhir.subscription import Content, Seen, notice
from tests.unit.fhir.conftest import CASE, OURS, REPORT, REQUEST, SENDER, STUDY, TASK, bundle, ref
from tests.unit.fhir.lis import BASE, Lis
from tests.unit.fhir.test_subscription import notification
from worker.errors import FhirRejected, FhirUnavailable
from worker.jobs.order import Verb
from worker.jobs.request import Priority

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def at(resource, moment, **fields):
    stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return deepcopy(resource) | {"meta": {"versionId": "1", "lastUpdated": stamp}} | fields


def some_studies(count, moment=NOON):
    return [at(STUDY, moment, id=f"s{number}") for number in range(count)]


def asked(lis, watch, cursor=Cursor(), **options):  # noqa: B008
    return poll(lis.server, watch, cursor, sender=SENDER, ours=OURS, **options)


def sources(polled, kind="ImagingStudy"):
    return [a.source for a in polled.heard.announcements if a.source.startswith(kind)]


def test_the_first_poll_asks_for_tasks_that_wait_and_later_ones_for_those_taken_back_too():
    lis = Lis([*CASE, at(TASK, NOON), at(TASK, NOON, id="t2", status="cancelled")])
    first = asked(lis, polling.tasks("Device/pathlane"))
    assert sources(first, "Task") == ["Task/t1/_history/1"]
    assert lis.asked[0] == (
        "Task?owner=Device%2Fpathlane&_include=Task%3Afocus&status=requested&_sort=_lastUpdated&_count=50"
    )
    lis.asked.clear()
    later = asked(lis, polling.tasks("Device/pathlane"), first.cursor)
    assert sources(later, "Task") == ["Task/t1/_history/1", "Task/t2/_history/1"]
    assert "status=requested%2Ccancelled%2Centered-in-error" in lis.asked[0]
    assert "_lastUpdated=ge2026-11-23T11%3A58%3A00.000Z" in lis.asked[0]


def test_tasks_of_another_owner_are_not_ours():
    lis = Lis([*CASE, at(TASK, NOON, owner=ref("Device/other"))])
    assert asked(lis, polling.tasks("Device/pathlane")).heard.orders == ()


def test_every_page_is_read_and_the_cursor_is_the_newest_that_was_met():
    lis = Lis([*CASE, *some_studies(60), at(STUDY, NOON + timedelta(seconds=1), id="newest")])
    polled = asked(lis, polling.studies())
    assert len(sources(polled)) == 61
    assert polled.cursor.since == NOON + timedelta(seconds=1)
    assert not polled.is_more


def test_what_was_written_in_the_same_instant_after_the_poll_is_met_by_the_next_one():
    lis = Lis([*CASE, *some_studies(1)])
    first = asked(lis, polling.studies())
    lis.resources.append(at(STUDY, NOON, id="same-instant"))
    lis.resources.append(at(STUDY, NOON - timedelta(seconds=90), id="slow-transaction"))
    met = sources(asked(lis, polling.studies(), first.cursor))
    assert {"ImagingStudy/same-instant/_history/1", "ImagingStudy/slow-transaction/_history/1"} < set(met)


def test_the_cursor_never_goes_back():
    newest = Cursor(since=NOON + timedelta(minutes=1))
    lis = Lis([*CASE, *some_studies(1)])
    assert asked(lis, polling.studies(), newest).cursor == newest
    assert asked(Lis(), polling.studies(), newest).cursor == newest


def test_what_is_left_for_the_next_poll_is_said_and_found():
    lis = Lis([*CASE, *[at(STUDY, NOON + timedelta(hours=n), id=f"s{n}", basedOn=[]) for n in range(120)]])
    first = asked(lis, polling.studies(), pages=1)
    assert (len(sources(first)), first.is_more) == (50, True)
    assert first.cursor.since == NOON + timedelta(hours=49)
    rest = asked(lis, polling.studies(), first.cursor)
    assert sources(rest)[0] == "ImagingStudy/s49/_history/1"
    assert len(sources(rest)) == 71


def test_of_a_server_that_does_not_sort_a_part_moves_nothing():
    lis = Lis(
        [*CASE, *[at(STUDY, NOON - timedelta(hours=n), id=f"s{n}", basedOn=[]) for n in range(120)]],
        sorts=False,
    )
    first = asked(lis, polling.studies(), pages=1)
    assert (first.is_more, first.cursor) == (True, Cursor())
    assert asked(lis, polling.studies()).cursor.since == NOON


def test_what_is_included_does_not_move_the_cursor():
    newer = [at(r, NOON + timedelta(days=9)) if r is REQUEST else r for r in CASE]
    assert asked(Lis([*newer, *some_studies(1)]), polling.studies()).cursor.since == NOON


@pytest.mark.parametrize("includes", [True, False])
def test_whatever_the_server_includes_the_case_is_whole(includes):
    lis = Lis([*CASE, at(STUDY, NOON)], includes=includes)
    polled = asked(lis, polling.studies())
    (order,) = [order for order in polled.heard.orders if order.verb is Verb.AVAILABLE]
    assert (order.slide, order.priority, order.patient.family) == (
        "S26-0001-A1-01",
        Priority.URGENT,
        "Canary",
    )
    assert [stain.code for stain in order.stains] == ["104210008", "12710003"]
    assert len(lis.asked) == len(set(lis.asked))


def test_a_request_brings_its_studies_which_do_not_stand_in_it():
    polled = asked(Lis([*[at(r, NOON) if r is REQUEST else r for r in CASE], STUDY]), polling.requests())
    assert {order.verb for order in polled.heard.orders} == {Verb.REGISTERED, Verb.AVAILABLE}


def test_the_image_of_a_case_that_was_signed_out_long_ago_is_not_run():
    polled = asked(Lis([*CASE, REPORT, at(STUDY, NOON)]), polling.studies())
    assert Verb.AVAILABLE not in {order.verb for order in polled.heard.orders}


def test_reports_are_watched_for_being_signed_out():
    reports = [at(REPORT, NOON), at(REPORT, NOON, id="d2", status="preliminary")]
    polled = asked(Lis([*CASE, *reports]), polling.reports())
    assert sources(polled, "DiagnosticReport") == ["DiagnosticReport/d1/_history/1"]


def test_a_patient_who_is_not_shown_is_asked_for_once_and_done_without():
    lis = Lis([*CASE, at(STUDY, NOON)], includes=False, hidden=frozenset({"Patient"}))
    polled = asked(lis, polling.studies())
    (order,) = [order for order in polled.heard.orders if order.verb is Verb.AVAILABLE]
    assert order.patient is None
    assert lis.asked.count("Patient/p1") == 1


def test_a_request_that_is_not_shown_is_a_refusal():
    lis = Lis([*CASE, at(STUDY, NOON)], includes=False, hidden=frozenset({"ServiceRequest"}))
    (refusal,) = asked(lis, polling.studies()).heard.refusals
    assert refusal.detail == "ImagingStudy.basedOn leads to what is not here."


def test_a_server_that_fails_in_the_middle_is_not_taken_for_one_with_half_a_case():
    def fails(request):
        return httpx.Response(503) if "/Specimen/" in request.url.path else None

    with pytest.raises(FhirUnavailable):
        asked(Lis([*CASE, at(STUDY, NOON)], before=fails), polling.studies())


def test_a_search_that_the_server_refuses_is_told():
    with pytest.raises(FhirRejected):
        asked(Lis(hidden=frozenset({"Task"})), polling.tasks("Device/pathlane"))


def test_a_case_without_end_is_left():
    """Each specimen has two more parents, on and on."""

    def endless(request):
        name = request.url.path.rpartition("/")[2]
        parents = [ref(f"Specimen/{name}{n}") for n in range(9)]
        return httpx.Response(200, json={"resourceType": "Specimen", "id": name, "parent": parents})

    with pytest.raises(FhirUnavailable, match="too_much"):
        gathered(Lis(before=endless).server, focus=["Specimen/x"])


def test_an_id_only_notification_with_a_gap_is_filled_and_read():
    """Event 2 never came: event 3 tells so, `$events` brings it, and both lead to their cases."""
    lis = Lis([*CASE, STUDY, STUDY | {"id": "2"}, STUDY | {"id": "3"}])
    lis.before = lambda request: (
        httpx.Response(200, json=notification("query-event", 2, total=3))
        if "$events" in str(request.url)
        else None
    )
    said = notice(notification("event-notification", 3), Seen(last_event=1), subscription_id="sub1")
    filled = notice(lis.server.events("sub1", said.gap, Content.ID_ONLY), said.state, subscription_id="sub1")
    assert (filled.state, filled.gap) == (Seen(last_event=3), None)
    focus = [event.focus for event in (*said.events, *filled.events)]
    case = gathered(lis.server, said.bundle, filled.bundle, focus=focus)
    met = [a.source for a in orders_of(case, sender=SENDER, ours=OURS).announcements]
    assert [source for source in met if "ImagingStudy/2" in source or "ImagingStudy/3" in source]


def test_a_focus_on_another_server_is_not_read():
    lis = Lis([])
    gathered(lis.server, focus=["https://evil.example/fhir/ImagingStudy/1", "urn:uuid:1", ""])
    assert lis.asked == []


def test_a_notification_with_the_whole_resource_needs_only_what_it_refers_to():
    lis = Lis(list(CASE))
    case = gathered(lis.server, bundle(STUDY, base=BASE))
    assert Verb.AVAILABLE in {order.verb for order in orders_of(case, sender=SENDER, ours=OURS).orders}
    assert not any(asked_for.startswith("ImagingStudy/") for asked_for in lis.asked)


def test_the_room_logs_nothing():
    """httpx itself logs URLs, which hold ids of patients: `worker.log` keeps it quiet."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    loggers = [
        logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("integrations")
    ]
    for logger in (*loggers, logging.getLogger("integrations")):
        logger.addHandler(handler)
    asked(Lis([*CASE, at(STUDY, NOON)]), polling.studies())
    for logger in (*loggers, logging.getLogger("integrations")):
        logger.removeHandler(handler)
    assert written.getvalue() == ""
