"""Signing in to the console: what a cookie opens, and what another site cannot do with it."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from integrations.console.links import new_link
from integrations.http_api.app import create_app
from tests.integration.http_api.conftest import BODY, KEY, an_api
from worker.jobs.audit import Action
from worker.jobs.scope import Scope
from worker.store.passes import Passes

CONSOLE = {"x-pathlane-console": "1"}


@pytest.fixture
def browser(api):
    """A client without a key, as a browser is."""
    with TestClient(create_app(api)) as client:
        yield client


def sign_in(browser, **body):
    return browser.post("/v1/session", json=body or {"key": KEY}, headers=CONSOLE)


def test_a_key_opens_a_session_that_does_what_the_key_may(browser):
    opened = sign_in(browser)
    assert opened.status_code == 201
    assert opened.json()["scopes"] == [scope.value for scope in Scope]
    cookie = opened.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("pathlane=", "httponly", "samesite=strict", "path=/"))
    assert "secure" not in cookie  # this one is not reached over https
    assert browser.get("/v1/session").json()["name"] == "lab"
    assert browser.get("/v1/jobs").status_code == 200
    job = browser.post("/v1/jobs", json=BODY, headers=CONSOLE)
    assert (job.status_code, job.json()["submitter"]) == (202, "lab")


def test_over_https_the_cookie_is_for_this_host_and_nothing_else(database, tmp_path):
    api = an_api(database, tmp_path / "uploads", is_https=True)
    api.stores.keys.add("lab", KEY)
    with TestClient(create_app(api), base_url="https://testserver") as browser:
        cookie = sign_in(browser).headers["set-cookie"]
        assert cookie.startswith("__Host-pathlane=")
        assert "Secure" in cookie
        assert browser.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a form of another site
        {"x-pathlane-console": "0"},
        CONSOLE | {"origin": "https://evil.example"},
        CONSOLE | {"origin": "null"},
        CONSOLE | {"sec-fetch-site": "cross-site"},
        CONSOLE | {"sec-fetch-site": "same-site"},
    ],
)
def test_a_request_of_another_site_changes_nothing(browser, headers):
    sign_in(browser)
    assert browser.post("/v1/jobs", json=BODY, headers=headers).status_code == 401
    assert browser.post("/v1/session", json={"key": KEY}, headers=headers).status_code == 401
    assert browser.delete("/v1/session", headers=headers).status_code == 401
    assert browser.get("/v1/jobs").json()["items"] == []  # and the session is still there


def test_the_consoles_own_page_may(browser):
    sign_in(browser)
    own = CONSOLE | {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
    assert browser.post("/v1/jobs", json=BODY, headers=own).status_code == 202


def test_a_link_opens_one_session_and_no_second(browser, api):
    (key,) = api.stores.keys.all()
    link = new_link(api.stores.passes, key.id, "http://h:1/", actor="test")
    address, word = link.split("#link=")
    assert address == "http://h:1/console/"
    assert sign_in(browser, link=word).status_code == 201
    assert sign_in(browser, link=word).status_code == 401
    assert sign_in(browser, key=word).status_code == 401
    assert browser.get("/v1/jobs").status_code == 200


def test_a_link_and_a_session_end_with_their_time_and_with_their_key(database, browser, api):
    passes = Passes(database)
    (key,) = api.stores.keys.all()
    passes.link(key.id, "old", seconds=-1)
    assert passes.redeem("old", "new", seconds=60) is None
    assert passes.open(key, "ended", seconds=-1).key == key
    assert passes.shown("ended") is None
    passes.link(key.id, "good", seconds=60)
    assert sign_in(browser).status_code == 201
    api.stores.keys.revoke(key.id)
    assert browser.get("/v1/jobs").status_code == 401
    assert passes.redeem("good", "other", seconds=60) is None


def test_a_key_that_ends_takes_its_sessions_along(database):
    from worker.store.keys import Keys

    soon = datetime.now(UTC) - timedelta(seconds=1)
    key = Keys(database).add("short", "pl_short", expires_at=soon)
    passes = Passes(database)
    passes.open(key, "word", seconds=60)
    assert passes.shown("word") is None


def test_signing_out_ends_it_for_everybody_who_holds_the_cookie(browser):
    word = sign_in(browser).cookies["pathlane"]
    gone = browser.delete("/v1/session", headers=CONSOLE)
    assert (gone.status_code, gone.headers["clear-site-data"]) == (204, '"cache"')
    browser.cookies.set("pathlane", word)
    assert browser.get("/v1/jobs").status_code == 401
    assert browser.delete("/v1/session", headers=CONSOLE).status_code == 204


def test_a_session_has_no_more_scopes_than_its_key(browser, api):
    api.stores.keys.add("reader", "pl_reader", scopes=[Scope.READ])
    assert sign_in(browser, key="pl_reader").json()["scopes"] == ["read"]
    assert browser.get("/v1/jobs").status_code == 200
    assert browser.post("/v1/jobs", json=BODY, headers=CONSOLE).status_code == 403
    assert browser.get("/v1/deliveries").status_code == 403


def test_the_audit_says_who_was_signed_in_and_no_word_is_kept(browser, api, database):
    word = sign_in(browser).cookies["pathlane"]
    browser.delete("/v1/session", headers=CONSOLE)
    (key,) = api.stores.keys.all()
    everything = api.stores.audit.since(datetime(2000, 1, 1, tzinfo=UTC))
    actions = [entry.action for entry in everything if entry.subject_id == key.id]
    assert Action.SIGNED_IN in actions
    assert Action.SIGNED_OUT in actions
    from sqlalchemy import text

    sign_in(browser)
    with database.read() as connection:
        kept = str(connection.execute(text("SELECT * FROM passes")).all())
    assert word not in kept
    assert browser.cookies["pathlane"] not in kept


def test_a_shown_key_counts_more_than_a_cookie(browser):
    sign_in(browser)
    assert browser.get("/v1/jobs", headers={"authorization": "Bearer pl_wrong"}).status_code == 401
