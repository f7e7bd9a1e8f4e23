"""A FHIR server's news become jobs: polled or notified, once each, on a real store."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from integrations.fhir import polling
from integrations.fhir.client import FhirServer
from integrations.fhir_orders import FhirOrders
from tests.builders import a_question, an_order
from tests.unit.fhir import conftest as lis
from worker.address import AllowList
from worker.errors import FhirUnreadable, NotAllowed
from worker.pinned import pinned_client
from worker.store.bookmarks import Bookmarks
from worker.store.instances import Instance, Instances
from worker.store.intake import Intake
from worker.store.jobs import Jobs
from worker.store.sealing import Seal

SEAL = Seal([Seal.new_key()])
SECRET = {"authorization": "Bearer told-once"}


class Shelf(BaseHTTPRequestHandler):
    """Reads and searches of the resources that stand on it; paging and includes are the reader's trouble."""

    resources: ClassVar[dict] = {}

    def do_GET(self):
        path = urlsplit(self.path).path.removeprefix("/fhir/")
        if "/" in path:
            found = self.resources.get(path)
            self._say(200 if found else 404, found or {"resourceType": "OperationOutcome", "issue": []})
            return
        kind = [r for name, r in self.resources.items() if name.startswith(f"{path}/")]
        self._say(200, {"resourceType": "Bundle", "type": "searchset", "entry": [
            {"fullUrl": f"http://x/{r['resourceType']}/{r['id']}", "resource": r, "search": {"mode": "match"}}
            for r in kind
        ]})  # fmt: skip

    def _say(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/fhir+json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def shelf():
    handler = type("OneShelf", (Shelf,), {"resources": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler.resources, f"http://127.0.0.1:{server.server_port}/fhir"
    server.shutdown()
    server.server_close()


@pytest.fixture
def rung():
    return []


@pytest.fixture
def orders(shelf, database, rung):
    with pinned_client(AllowList.of(["127.0.0.0/8"]), seconds=10, plain_http=True) as client:
        yield FhirOrders(
            server=FhirServer(base=shelf[1], client=client), sender=lis.SENDER, ours=lis.OURS,
            intake=Intake(database, SEAL, lambda _: [a_question()]), bookmarks=Bookmarks(database),
            watches=(polling.requests(), polling.studies(), polling.reports()), subscription_id="s1",
            secrets=("told-once",), ring=rung.append,
        )  # fmt: skip


@pytest.fixture
def case(shelf, database):
    """A request, its specimens and a study, not signed out; and the study's pictures in the archive."""
    resources, _ = shelf
    study = next(value for value in vars(lis).values()
                 if isinstance(value, dict) and value.get("resourceType") == "ImagingStudy")  # fmt: skip
    for value in vars(lis).values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if (
                isinstance(one, dict)
                and "id" in one
                and one.get("resourceType", "DiagnosticReport") != "DiagnosticReport"
            ):
                resources[f"{one['resourceType']}/{one['id']}"] = one
    for number, series in enumerate(study["series"]):
        order = an_order(images=(), series_uid=series["uid"])
        Instances(database, SEAL).add(Instance(
            sop_instance_uid=f"1.9.{number}", sop_class="1", reference="upload:sha256-" + "0" * 64, is_slide=False,
            is_eligible=True, pixels=1, order=order,
        ))  # fmt: skip
    return resources


def notification(*focus, number=1, kind="event-notification"):
    events = [
        {"name": "notification-event", "part": [
            {"name": "event-number", "valueString": str(number + i)},
            {"name": "focus", "valueReference": {"reference": name}},
        ]} for i, name in enumerate(focus)
    ]  # fmt: skip
    status = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": "Subscription/s1"}},
            {"name": "status", "valueCode": "active"},
            {"name": "type", "valueCode": kind},
            {"name": "events-since-subscription-start", "valueString": str(number + len(focus) - 1)},
            *events,
        ],
    }
    bundle = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}
    return json.dumps(bundle).encode()


@pytest.mark.usefixtures("case")
def test_a_study_that_is_polled_becomes_jobs_once(orders, database, rung):
    orders.poll()
    jobs = sum(Jobs(database).depth().values())
    assert jobs >= 1
    assert sum(rung) == jobs
    orders.poll()
    assert sum(Jobs(database).depth().values()) == jobs


@pytest.mark.usefixtures("case")
def test_a_notification_is_read_from_its_server_and_becomes_jobs_once(orders, database, case):
    study = next(name for name in case if name.startswith("ImagingStudy/"))
    for _ in range(2):
        orders.notified(SECRET, notification(study))
    assert sum(Jobs(database).depth().values()) >= 1
    assert orders.bookmarks.get("fhir Subscription s1")["last_event"] == 1


@pytest.mark.usefixtures("case")
def test_a_gap_that_the_server_cannot_fill_is_polled_for(orders, database, case):
    request = next(name for name in case if name.startswith("ServiceRequest/"))
    orders.notified(SECRET, notification(request, number=5))
    assert sum(Jobs(database).depth().values()) >= 1  # the study was found by the poll
    assert orders.bookmarks.get("fhir Subscription s1")["last_event"] == 5


def test_a_handshake_is_welcome_and_makes_nothing(orders, database):
    orders.notified(SECRET, notification(number=1, kind="handshake"))
    assert sum(Jobs(database).depth().values()) == 0


def test_whoever_does_not_know_the_secret_is_turned_away(orders):
    with pytest.raises(NotAllowed):
        orders.notified({"authorization": "Bearer guess"}, notification("ImagingStudy/1"))


def test_what_is_no_notification_is_refused(orders):
    with pytest.raises(FhirUnreadable):
        orders.notified(SECRET, b"{")


def test_a_bookmark_stays_where_it_was_put(database):
    marks = Bookmarks(database)
    marks.put("a", {"n": 1})
    marks.put("a", {"n": 2})
    assert (marks.get("a"), marks.get("b")) == ({"n": 2}, {})
