"""Signing in at a third party's OpenID provider: there, back, and as whom."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest
from fastapi.testclient import TestClient

from integrations.http_api.app import create_app
from integrations.http_api.provider import AWAY, BACK
from integrations.sign_on import provider_of
from tests.integration.http_api.conftest import an_api
from tests.providers import known, openid_provider
from worker.jobs.audit import Action
from worker.settings import SignOnSettings

CONSOLE = {"x-pathlane-console": "1"}
OURS = "http://testserver"


@pytest.fixture(scope="module")
def issuer():
    with openid_provider() as url:
        yield url


@pytest.fixture
def api(database, tmp_path, issuer):
    secret = tmp_path / "secret"
    secret.write_text("known to both")
    asked = SignOnSettings(
        oidc_issuer=issuer, oidc_client_id="pathlane", oidc_secret_file=secret,
        oidc_groups="pathologists:read+review", oidc_hosts="127.0.0.0/8", oidc_plain_http=True,
    )  # fmt: skip
    provider = provider_of(asked, back=f"{OURS}{BACK}")
    yield an_api(database, tmp_path / "uploads", provider=provider)
    provider.client.close()


@pytest.fixture
def browser(api):
    with TestClient(create_app(api), base_url=OURS, follow_redirects=False) as client:
        yield client


def shown_at(address, subject) -> str:
    """Where the provider sends the browser when somebody has said there who they are."""
    answer = httpx.post(address, data={"sub": subject}, trust_env=False)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def signed_on(browser, subject) -> str:
    """Where the browser ends."""
    away = browser.get(AWAY)
    assert away.status_code == 303
    back = shown_at(away.headers["location"], subject)
    assert back.startswith(f"{OURS}{BACK}?")
    return browser.get(back).headers["location"]


def opened(browser, location):
    start, _, link = location.partition("#link=")
    assert start == "/console/"
    return browser.post("/v1/session", json={"link": link}, headers=CONSOLE)


def test_a_pathologist_signs_in_and_reviews_under_their_own_name(browser, api, issuer):
    known(issuer, "anna", preferred_username="anna", groups=["pathologists"])
    assert browser.get("/v1/session/ways").json() == {"provider": "localhost"}
    session = opened(browser, signed_on(browser, "anna"))
    assert session.status_code == 201
    assert (session.json()["name"], session.json()["scopes"]) == ("sso:anna", ["read", "review"])
    assert browser.get("/v1/jobs").status_code == 200
    assert browser.get("/v1/deliveries").status_code == 403
    (key,) = api.stores.keys.all()
    taken = [
        entry.action
        for entry in api.stores.audit.since(datetime(2020, 1, 1, tzinfo=UTC))
        if entry.subject_id == key.id
    ]
    assert {Action.KEY_ADDED, Action.LINK_MADE, Action.SIGNED_IN} <= set(taken)


def test_the_next_sign_in_renews_the_same_person_and_what_they_may(browser, api, issuer):
    known(issuer, "ben", preferred_username="ben", groups=["pathologists"])
    opened(browser, signed_on(browser, "ben"))
    (first,) = api.stores.keys.all()
    known(issuer, "ben", preferred_username="benjamin", groups=["pathologists"])
    opened(browser, signed_on(browser, "ben"))
    (second,) = api.stores.keys.all()
    assert (second.id, second.name) == (first.id, "sso:benjamin")
    assert second.expires_at > first.expires_at


def test_who_is_in_no_group_or_was_revoked_here_stays_outside(browser, api, issuer):
    known(issuer, "eve", preferred_username="eve", groups=["visitors"])
    assert signed_on(browser, "eve") == "/console/#sign-in=denied"
    assert api.stores.keys.all() == []
    known(issuer, "cal", preferred_username="cal", groups=["pathologists"])
    opened(browser, signed_on(browser, "cal"))
    (key,) = api.stores.keys.all()
    api.stores.keys.revoke(key.id)
    assert browser.get("/v1/jobs").status_code == 401
    assert signed_on(browser, "cal") == "/console/#sign-in=denied"


def test_another_browser_cannot_come_back_with_what_one_was_given(browser, api, issuer):
    known(issuer, "dan", preferred_username="dan", groups=["pathologists"])
    back = shown_at(browser.get(AWAY).headers["location"], "dan")
    with TestClient(create_app(api), base_url=OURS, follow_redirects=False) as other:
        assert other.get(back).headers["location"] == "/console/#sign-in=failed"
        other.get(AWAY)  # it has a sign-in of its own, which is not this one
        assert other.get(back).headers["location"] == "/console/#sign-in=failed"
    assert browser.get(back).headers["location"].startswith("/console/#link=")
    assert browser.get(back).headers["location"] == "/console/#sign-in=failed", "it comes back once"


def test_who_says_no_there_is_not_signed_in_here(browser):
    browser.get(AWAY)
    assert (
        browser.get(f"{BACK}?error=access_denied&state=x").headers["location"] == "/console/#sign-in=failed"
    )


def test_the_cookie_of_a_sign_in_is_hidden_from_scripts_and_short_lived(browser):
    cookie = browser.get(AWAY).headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "max-age=600", "path=/"))


def test_a_person_cannot_be_shown_as_an_api_key(browser, api, issuer):
    known(issuer, "fay", preferred_username="fay", groups=["pathologists"])
    opened(browser, signed_on(browser, "fay"))
    with TestClient(create_app(api)) as other:
        for shown in ("person:", "sso:fay", "fay"):
            assert other.get("/v1/jobs", headers={"authorization": f"Bearer {shown}"}).status_code == 401


def test_where_there_is_no_provider_nobody_is_sent_anywhere(database, tmp_path):
    with TestClient(create_app(an_api(database, tmp_path / "uploads"))) as client:
        assert client.get("/v1/session/ways").json() == {"provider": None}
        assert client.get(AWAY).status_code == 404
        assert client.get(BACK).status_code == 404


def test_a_provider_that_is_away_is_said_to_be(database, tmp_path):
    asked = SignOnSettings(
        oidc_issuer="http://localhost:1", oidc_client_id="x", oidc_groups="*:read",
        oidc_hosts="127.0.0.0/8,::1", oidc_plain_http=True,
    )  # fmt: skip
    api = an_api(database, tmp_path / "uploads", provider=provider_of(asked, back=f"{OURS}{BACK}"))
    with TestClient(create_app(api), follow_redirects=False) as client:
        assert client.get(AWAY).headers["location"] == "/console/#sign-in=unavailable"
    api.provider.client.close()
