"""Who may do what, how often, and until when."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from integrations.cli import main
from integrations.http_api.app import create_app, description
from integrations.http_api.limits import Limits
from tests.builders import a_reading
from tests.integration.http_api.conftest import BODY, KEY
from tests.integration.http_api.test_api import problem, said
from worker.jobs.request import parse_request
from worker.jobs.scope import Scope
from worker.store.keys import Keys

#: route -> the scopes of which one opens it
NEEDS = {
    ("GET", "/v1/jobs"): {"read"},
    ("POST", "/v1/jobs"): {"submit"},
    ("POST", "/v1/jobs/search"): {"read"},
    ("POST", "/v1/jobs/batch"): {"submit"},
    ("GET", "/v1/jobs/{job_id}"): {"read"},
    ("POST", "/v1/jobs/{job_id}/cancel"): {"submit", "operate"},
    ("POST", "/v1/jobs/{job_id}/rerun"): {"submit", "operate"},
    ("GET", "/v1/jobs/{job_id}/events"): {"read"},
    ("GET", "/v1/events"): {"read"},
    ("GET", "/v1/jobs/{job_id}/reading"): {"read"},
    ("GET", "/v1/jobs/{job_id}/patches/{number}"): {"read"},
    ("POST", "/v1/jobs/{job_id}/reviews"): {"review"},
    ("GET", "/v1/jobs/{job_id}/reviews"): {"read"},
    ("POST", "/v1/uploads"): {"submit"},
    ("GET", "/v1/endpoints"): {"operate"},
    ("POST", "/v1/endpoints"): {"operate"},
    ("GET", "/v1/endpoints/{endpoint_id}"): {"operate"},
    ("POST", "/v1/endpoints/{endpoint_id}/rotate"): {"operate"},
    ("POST", "/v1/endpoints/{endpoint_id}/pause"): {"operate"},
    ("POST", "/v1/endpoints/{endpoint_id}/resume"): {"operate"},
    ("POST", "/v1/endpoints/{endpoint_id}/test"): {"operate"},
    ("GET", "/v1/deliveries"): {"operate"},
    ("POST", "/v1/deliveries/replay"): {"operate"},
    ("GET", "/v1/deliveries/{delivery_id}"): {"operate"},
    ("GET", "/v1/deliveries/{delivery_id}/attempts"): {"operate"},
    ("POST", "/v1/deliveries/{delivery_id}/replay"): {"operate"},
    ("GET", "/v1/status"): {"read", "operate"},
    ("GET", "/v1/status/history"): {"read", "operate"},
}
#: whoever signs in has a link; whoever is signed in, a session; anybody may know where people sign in
SESSION = {(method, "/v1/session") for method in ("POST", "GET", "DELETE")} | {("GET", "/v1/session/ways")}
OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/v1/fhir/notifications")} | SESSION
#: streams, which would not end here
STREAMS = {"/v1/events"}


def test_every_route_is_in_the_table_of_scopes():
    every = {(method.upper(), path) for path, methods in description()["paths"].items() for method in methods}
    assert every == set(NEEDS) | OPEN


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_route_opens_to_its_scopes_and_to_no_other(client, with_scopes):
    headers = {scope: with_scopes(scope) for scope in Scope}
    for (method, path), scopes in NEEDS.items():
        url = path.format(job_id="job_x", endpoint_id="ep_x", delivery_id="msg_x", number=0)
        for scope in Scope:
            if path in STREAMS and scope in scopes:
                continue
            response = client.request(method, url, headers=headers[scope])
            if scope in scopes:
                assert response.status_code not in (401, 403), (method, path, scope)
            else:
                assert problem(response, 403, "scope_missing")
                assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
        problem(client.request(method, url, headers={"authorization": "Bearer pl_no"}), 401, "not_allowed")


def test_a_key_that_may_only_submit_is_told_nothing_of_the_case(client, api, with_scopes):
    narrow = with_scopes("submit")
    body = BODY | {"question": "Is it malignant?", "labels": {"a": "b"}}
    first = client.post("/v1/jobs", json=body, headers=narrow | {"Idempotency-Key": "k"})
    assert first.status_code == 202
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    again = client.post("/v1/jobs", json=body, headers=narrow | {"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    rerun, cancelled = (
        client.post(f"/v1/jobs/{first.json()['id']}/{verb}", headers=narrow) for verb in ("rerun", "cancel")
    )
    assert rerun.status_code == 202
    for response in (first, again, rerun, cancelled):
        document = response.json()
        assert (document["reading"], document["question"], document["labels"]) == (None, None, {})
        assert "malignant" not in response.text


def test_a_key_opens_nothing_from_its_end_on(client, api):
    ends = datetime.now(UTC) + timedelta(seconds=-1)
    api.stores.keys.add("old", "pl_old", expires_at=ends)
    api.stores.keys.add("new", "pl_new", expires_at=ends + timedelta(days=1))
    problem(client.get("/v1/jobs", headers={"authorization": "Bearer pl_old"}), 401, "not_allowed")
    assert client.get("/v1/jobs", headers={"authorization": "Bearer pl_new"}).status_code == 200


def test_whoever_asks_too_often_is_told_when_to_ask_again(api):
    now = [0.0]
    limited = dataclasses.replace(api, limits=Limits(per_second=2, burst=3, now=lambda: now[0]))
    api.stores.keys.add("other", "pl_other")
    with TestClient(create_app(limited), headers={"authorization": f"Bearer {KEY}"}) as client:
        answers = [client.get("/v1/status") for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        assert [one.headers["ratelimit"] for one in answers] == [
            '"key";r=2;t=1', '"key";r=1;t=1', '"key";r=0;t=2', '"key";r=0;t=2',
        ]  # fmt: skip
        assert answers[0].headers["ratelimit-policy"] == '"key";q=3;w=2'
        assert problem(answers[3], 429, "rate_limited")
        assert answers[3].headers["retry-after"] == "1"
        assert client.get("/v1/status", headers={"authorization": "Bearer pl_other"}).status_code == 200
        now[0] += 0.5
        assert client.get("/v1/nothing").status_code == 404
        assert client.get("/v1/status").status_code == 200, "one more after half a second"
        assert client.get("/v1/status").status_code == 429


def test_problems_carry_the_limits_too(api):
    limited = dataclasses.replace(api, limits=Limits(per_second=1, burst=5))
    with TestClient(create_app(limited), headers={"authorization": f"Bearer {KEY}"}) as client:
        response = client.get("/v1/jobs/job_nothing")
        assert problem(response, 404, "not_found")
        assert response.headers["ratelimit"].startswith('"key";r=4')
        assert "ratelimit" not in client.get("/healthz").headers


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_command_line_gives_scopes_and_an_end(database, database_url, monkeypatch):
    monkeypatch.setenv("PATHLANE_DATABASE_URL", database_url)

    def run(*words, status=0):
        told = CliRunner().invoke(main, ["key", *words])
        assert told.exit_code == status, told.output
        return told.output

    everything = run("add", "lab").strip()
    narrow = run("add", "lis", "--scope", "submit", "--scope", "read", "--expires", "30").strip()
    keys = Keys(database)
    assert keys.shown(everything).scopes == set(Scope)
    assert keys.shown(everything).expires_at is None
    shown = keys.shown(narrow)
    assert shown.scopes == {Scope.SUBMIT, Scope.READ}
    assert timedelta(days=29) < shown.expires_at - datetime.now(UTC) < timedelta(days=31)
    run("add", "x", "--expires", "2001-01-01", status=2)
    run("add", "x", "--expires", "soon", status=2)
    run("add", "x", "--scope", "all", status=2)
    run("add", "y", "--expires", "2999-01-01")
    lines = run("list").splitlines()
    assert "submit,read,review,operate" in lines[0]
    assert lines[0].endswith("valid")
    assert "submit,read  until " in lines[1]
    assert "until 2999-01-01" in lines[2]
    assert [action for action, _ in said(database)] == ["key added"] * 3


def test_the_command_line_prints_the_description_with_examples():
    told = CliRunner().invoke(main, ["openapi"])
    document = json.loads(told.output)
    assert document == json.loads(json.dumps(description()))
    assert document["openapi"].startswith("3.1")
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert parse_request(body["example"])
