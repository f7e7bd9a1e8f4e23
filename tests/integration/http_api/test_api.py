"""The submission API over a real store on both databases; the broker is a flag that says whether it was rung."""

import dataclasses
import hashlib
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from integrations.http_api.app import create_app
from tests.builders import a_reading
from tests.integration.http_api.conftest import BODY, KEY
from tests.scrapes import of_this_process
from worker import log
from worker.errors import BrokerUnavailable, StoreUnavailable
from worker.jobs.event import Payload
from worker.store.audit import Audit
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.session import Database


def problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    return response.json()


def test_a_submitted_job_is_stored_rung_for_and_can_be_fetched(client, api, rings):
    response = client.post("/v1/jobs", json=BODY | {"priority": "stat", "labels": {"site": "A"}})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["priority"], job["labels"], job["reading"]) == (
        "queued",
        "stat",
        {"site": "A"},
        None,
    )
    assert api.stores.jobs.get(job["id"]).submitter == "lab"
    assert rings == ["ring"]
    assert client.get(f"/v1/jobs/{job['id']}").json() == job


def test_a_finished_job_shows_its_reading_and_deliveries(client, api, database):
    Endpoints(database).add("lis", "https://lis.example", secret="whsec_x", payload=Payload.THIN)
    job_id = client.post("/v1/jobs", json=BODY).json()["id"]
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["reading"]["outcome"] == "answered"
    assert (job["reading"]["answer"], job["reading"]["choice"]) == ("B. DAB", "B")
    assert job["reading"]["provenance"]["license"] == "Apache-2.0"
    assert [d["status"] for d in job["deliveries"]] == ["pending"]


def test_the_idempotency_key_may_come_as_a_header(client):
    first = client.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": "k1"})
    second = client.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    other = client.post("/v1/jobs", json=BODY | {"question": "Q?"}, headers={"Idempotency-Key": "k1"})
    problem(other, 409, "idempotency_conflict")
    both = client.post("/v1/jobs", json=BODY | {"idempotency_key": "k2"}, headers={"Idempotency-Key": "k1"})
    problem(both, 422, "invalid_request")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": "x" * 4001}, "question"),
        ({"options": ["one"]}, "options"),
        ({"options": [f"option {n}" for n in range(27)]}, "options"),
        ({"priority": "now"}, "priority"),
        ({"images": [{"reference": "gopher://x"}]}, "images.0.reference"),
        ({"due_at": "2001-01-01T00:00:00Z"}, "due_at"),
        ({"endpoints": ["nobody"]}, "endpoints"),
        ({"Canary": 1}, "?"),
    ],
)  # fmt: skip
def test_bad_input_is_422_with_the_field(client, fields, field):
    response = client.post("/v1/jobs", json=BODY | fields)
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]
    assert "Canary" not in response.text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xff", b"[1]"])
def test_what_is_not_a_json_object_is_422(client, content):
    problem(
        client.post("/v1/jobs", content=content, headers={"content-type": "application/json"}),
        422,
        "invalid_request",
    )


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer pl_wrong", "Basic abc", f"bearer {KEY}x"])
def test_without_a_valid_key_nothing_is_said(client, header):
    headers = {"authorization": header or ""}
    for response in (
        client.post("/v1/jobs", json=BODY, headers=headers),
        client.get("/v1/jobs/job_x", headers=headers),
        client.post("/v1/uploads", content=b"x", headers=headers),
    ):
        problem(response, 401, "not_allowed")
        assert response.headers["www-authenticate"] == "Bearer"


def test_a_body_over_the_limit_is_413(client):
    problem(client.post("/v1/jobs", json=BODY | {"question": "x" * 20_000}), 413, "body_too_large")


def test_an_upload_is_kept_under_its_digest(client, api):
    response = client.post("/v1/uploads", content=b"picture")
    assert response.status_code == 201
    assert response.json() == {"reference": "upload:sha256-" + hashlib.sha256(b"picture").hexdigest()}
    assert [p.read_bytes() for p in api.uploads_dir.rglob("*") if p.is_file() and p.name != "lock"] == [
        b"picture"
    ]


def test_an_upload_over_the_limit_is_413_and_leaves_nothing(client, api):
    problem(client.post("/v1/uploads", content=b"x" * 1001), 413, "image_too_large")
    assert [p for p in api.uploads_dir.rglob("*") if p.is_file()] == []


def test_a_job_that_is_not_there_is_404(client):
    problem(client.get("/v1/jobs/job_nothing"), 404, "not_found")
    assert client.get("/v1/nothing").status_code == 404


def test_a_queued_job_can_be_cancelled(client):
    job_id = client.post("/v1/jobs", json=BODY).json()["id"]
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelled"


def test_the_probes_say_how_it_is_and_why(client, api):
    assert client.get("/healthz", headers={"authorization": ""}).json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "reasons": {}, "workers": 0}

    def broken():
        raise BrokerUnavailable

    api.checks["broker"] = broken
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["reasons"] == {"broker": "The message broker did not answer."}


def test_a_broker_that_is_down_does_not_lose_or_refuse_a_job(database, api):
    deaf = dataclasses.replace(api, ring=lambda: False)
    with TestClient(create_app(deaf), headers={"authorization": f"Bearer {KEY}"}) as client:
        job_id = client.post("/v1/jobs", json=BODY).json()["id"]
    assert api.stores.jobs.get(job_id).status == "queued"


def test_the_description_names_every_field_of_a_request(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"images", "question", "options", "priority", "due_at"} <= set(schemas["JobRequest"]["properties"])


def said(database):
    return [(one.action, one.actor) for one in Audit(database).since(datetime(2000, 1, 1, tzinfo=UTC))]


def test_who_asked_cancelled_and_read_is_written_down_with_the_key(client, api, database):
    me = f"key:lab:{api.stores.keys.all()[0].id}"
    read, taken_back = (client.post("/v1/jobs", json=BODY).json()["id"] for _ in range(2))
    client.post(f"/v1/jobs/{taken_back}/cancel")
    client.get(f"/v1/jobs/{read}")
    assert said(database)[1:] == [("submitted", me), ("submitted", me), ("cancelled", me)], (
        "nothing to read yet"
    )
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    client.get(f"/v1/jobs/{read}")
    client.post(f"/v1/jobs/{read}/cancel")
    assert said(database)[-2:] == [("read", me)] * 2, "a cancellation too late answers with the reading"


def test_the_same_request_again_reads_its_answer(client, api, database):
    client.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": "k"})
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    assert client.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": "k"}).json()["reading"]
    assert [action for action, _ in said(database)][-1] == "read"


def test_a_reading_is_not_handed_out_unless_that_can_be_written_down(client, api, database):
    job_id = client.post("/v1/jobs", json=BODY).json()["id"]
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())

    class ReadOnly(Database):
        def write(self):
            raise StoreUnavailable

    url = database.engine.url.render_as_string(hide_password=False)
    standby = ReadOnly(url)
    stores = dataclasses.replace(api.stores, jobs=Jobs(standby))
    with TestClient(create_app(dataclasses.replace(api, stores=stores))) as asking:
        response = asking.get(f"/v1/jobs/{job_id}", headers={"authorization": f"Bearer {KEY}"})
    standby.close()
    problem(response, 503, "store_unavailable")
    assert "DAB" not in response.text


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("header", "kept"), [(PARENT, PARENT), ("Canary", None), ("x" * 5000, None)])
def test_a_submitters_trace_is_kept_and_what_is_none_is_no_reason_to_refuse(client, api, header, kept):
    response = client.post("/v1/jobs", json=BODY, headers={"traceparent": header})
    assert response.status_code == 202
    assert api.stores.jobs.get(response.json()["id"]).traceparent == kept


def test_what_is_submitted_is_counted_and_logged_under_its_id_and_what_is_refused_by_its_code(client):
    before = of_this_process()
    with capture_logs([log.only_listed_fields]) as lines:
        job_id = client.post("/v1/jobs", json=BODY, headers={"idempotency-key": "k"}).json()["id"]
        assert client.post("/v1/jobs", json=BODY, headers={"idempotency-key": "k"}).status_code == 200
        other = BODY | {"question": "Another?"}
        assert client.post("/v1/jobs", json=other, headers={"idempotency-key": "k"}).status_code == 409
        assert client.post("/v1/jobs", json={"question": "Canary"}).status_code == 422
        assert client.get("/v1/jobs/job_none").status_code == 404
    submitted = [line for line in lines if line["event"] == "job.submitted"]
    assert [(line["job_id"], line["channel"]) for line in submitted] == [(job_id, "http")]
    after = of_this_process()
    assert after.since(before, "pathlane_jobs_submitted_total", channel="http") == 1
    for code, times in (("idempotency_conflict", 1), ("invalid_request", 1), ("not_found", 0)):
        assert after.since(before, "pathlane_submissions_refused_total", channel="http", code=code) == times


def test_the_jobs_of_a_batch_join_one_trace_and_each_is_counted_for_what_came_of_it(client, api):
    before = of_this_process()
    known = BODY | {"idempotency_key": "known"}
    assert client.post("/v1/jobs", json=known).status_code == 202
    batch = {"jobs": [BODY, known, {"question": "Canary"}, BODY | {"endpoints": ["nobody"]}, BODY]}
    items = client.post("/v1/jobs/batch", json=batch, headers={"traceparent": PARENT}).json()["items"]
    assert [item["status"] for item in items] == [202, 200, 422, 422, 202]
    new = [api.stores.jobs.get(items[number]["id"]).traceparent for number in (0, 1, 4)]
    assert new == [PARENT, None, PARENT]
    assert client.post("/v1/jobs/batch", json={"jobs": []}).status_code == 422
    after = of_this_process()
    assert after.since(before, "pathlane_jobs_submitted_total", channel="http") == 3
    for code, times in (("invalid_request", 2), ("unknown_endpoint", 1)):
        assert after.since(before, "pathlane_submissions_refused_total", channel="http", code=code) == times


def test_a_rerun_is_a_submission_of_whoever_asks_again(client, api):
    job_id = client.post("/v1/jobs", json=BODY, headers={"traceparent": PARENT}).json()["id"]
    before = of_this_process()
    assert client.post(f"/v1/jobs/{job_id}/rerun").status_code == 409
    api.stores.jobs.cancel(job_id)
    other = PARENT.replace("4bf9", "aaaa")
    again = client.post(f"/v1/jobs/{job_id}/rerun", headers={"traceparent": other}).json()["id"]
    alone = client.post(f"/v1/jobs/{job_id}/rerun").json()["id"]
    assert [api.stores.jobs.get(one).traceparent for one in (job_id, again, alone)] == [PARENT, other, None]
    assert client.post("/v1/jobs/job_none/rerun").status_code in {404, 422}
    after = of_this_process()
    assert after.since(before, "pathlane_jobs_submitted_total", channel="http") == 2
    assert after.since(before, "pathlane_submissions_refused_total", channel="http", code="not_ended") == 1


def test_what_is_refused_before_it_is_read_is_counted_too(client):
    before = of_this_process()
    assert client.post("/v1/jobs", json=BODY, headers={"authorization": "Bearer pl_none"}).status_code == 401
    assert client.post("/v1/jobs", content=b"{").status_code in {400, 422}
    assert client.post("/v1/uploads", content=b"").status_code == 422
    after = of_this_process()
    for code, times in (("not_allowed", 1), ("invalid_request", 1)):
        assert after.since(before, "pathlane_submissions_refused_total", channel="http", code=code) == times
