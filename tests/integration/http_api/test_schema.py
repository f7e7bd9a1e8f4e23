"""The description against the API that runs: every route, whatever is sent, answers as it says it does.

The store is real (SQLite), and has one of everything, so that ids that are drawn often mean something.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Config
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from integrations.http_api.app import create_app, description
from tests.builders import a_reading, a_request
from tests.integration.http_api.conftest import KEY, SECRET, an_api
from worker.jobs.event import DeliveryStatus, Outcome
from worker.store.keys import Keys
from worker.store.schema import migrate
from worker.store.session import Database

AUTH = {"openapi": {"key": {"bearer": KEY}}}


def one_of_everything(api):
    """Ids by the names that they have in paths."""
    stores = api.stores
    endpoint = stores.endpoints.add("lis", "https://lis.example/in", secret=SECRET)
    submitted = stores.jobs.submit(a_request(), submitter="lab").job
    job = stores.jobs.claim(worker_id="w", lease_seconds=600)
    (delivery_id,) = stores.jobs.finish(job, a_reading())
    delivery = stores.outbox.claim(delivery_id, lease_seconds=60)
    answered = Outcome(status=DeliveryStatus.EXHAUSTED, http_status=500, reason="x", answer=b"no")
    stores.outbox.record(delivery, answered)
    stores.jobs.submit(a_request(), submitter="lab")
    return {"job_id": submitted.id, "endpoint_id": endpoint.id, "delivery_id": delivery_id}


CONFIG = Config.from_dict({"seed": 7, "generation": {"deterministic": True}, "auth": AUTH})
#: until the store is there, only the description is
APP = [Starlette(routes=[Route("/openapi.json", lambda _: JSONResponse(description()))])]
IDS = {}


async def app(scope, receive, send):
    await APP[-1](scope, receive, send)


schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=CONFIG)


def with_what_is_there(case):
    """What a schema cannot say: which ids there are, that a time lies ahead, that a list makes its own cursors."""
    for name, value in (case.path_parameters or {}).items():
        if name in IDS and len(str(value)) % 2 == 0:
            case.path_parameters[name] = IDS[name]
    if case.meta.generation.mode.is_negative:
        return
    for given in (case.query, case.body):
        if isinstance(given, dict):
            given.pop("cursor", None)
    body = case.body if isinstance(case.body, dict) else {}
    if body.get("due_at"):
        body["due_at"] = "2999-01-01T00:00:00Z"
    if body.get("endpoints"):
        body["endpoints"] = ["lis"]
    if body.get("idempotency_key"):
        case.headers.pop("idempotency-key", None)  # the same key in both places, or in one of them


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    database = Database(f"sqlite:///{folder / 'pathlane.db'}")
    migrate(database)
    Keys(database).add("lab", KEY)
    api = an_api(database, folder / "uploads", stream_seconds=0.01)
    IDS.update(one_of_everything(api))
    APP.append(create_app(api))
    yield
    APP.pop()
    database.close()


@schema.parametrize()
@settings(
    max_examples=8, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@pytest.mark.usefixtures("running")
def test_every_route_answers_as_it_is_described(case):
    with_what_is_there(case)
    case.call_and_validate()
