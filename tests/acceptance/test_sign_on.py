"""People of a hospital sign in to the console at their OpenID provider: a real gateway, browser and provider."""

import pytest

from tests.acceptance.conftest import free_port
from tests.conftest import missing
from tests.console import Gateway, browser, chromium
from tests.providers import known, openid_provider

SECONDS = 120


@pytest.fixture(scope="module")
def chrome():
    if chromium() is None:
        missing("chromium")
    pytest.importorskip("playwright")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def issuer():
    with openid_provider() as url:
        yield url


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, issuer):
    folder = tmp_path_factory.mktemp("sign-on")
    secret = folder / "oidc-secret"
    secret.write_text("known to both")
    started = Gateway(
        folder, free_port(), PATHLANE_OIDC_ISSUER=issuer, PATHLANE_OIDC_CLIENT_ID="pathlane",
        PATHLANE_OIDC_SECRET_FILE=str(secret), PATHLANE_OIDC_GROUPS="pathologists:read+review",
        PATHLANE_OIDC_HOSTS="127.0.0.0/8", PATHLANE_OIDC_PLAIN_HTTP="true",
    ).start()  # fmt: skip
    yield started
    started.stop()


@pytest.fixture
def page(chrome, gateway):
    context = chrome.new_context(reduced_motion="reduce")
    opened = context.new_page()
    opened.set_default_timeout(SECONDS * 1000)
    # The provider's page fetches its style sheet from elsewhere, where nobody is.
    opened.route("**://cdn.jsdelivr.net/**", lambda asked: asked.abort())
    opened.goto(f"{gateway.url}/console/")
    yield opened
    context.close()


def go_and_say(page, subject):
    page.click("a:text('Sign in at localhost')")
    page.fill("input[name=sub]", subject)
    page.click("button:text('Authorize')")


def test_a_pathologist_comes_back_signed_in_and_goes_out_again(page, gateway, issuer):
    known(issuer, "anna", preferred_username="anna", groups=["pathologists"])
    go_and_say(page, "anna")
    page.wait_for_selector("h1:text('Worklist')")
    assert page.url == f"{gateway.url}/console/#/", "nothing of the sign-in stays in the address"
    assert page.inner_text("#name") == "sso:anna"
    assert [cookie["name"] for cookie in page.context.cookies(gateway.url)] == ["pathlane"]
    page.click("#leave")
    page.wait_for_selector("#api-key")


def test_who_is_in_no_group_is_told_so_and_may_use_a_key(page, issuer):
    known(issuer, "eve", preferred_username="eve", groups=[])
    go_and_say(page, "eve")
    page.wait_for_selector("#sign-in-said:has-text('in no group')")
    page.click("a:text('Sign in at localhost')")
    page.click("button:text('Deny')")
    page.wait_for_selector("#sign-in-said:has-text('could not be confirmed')")
    assert page.is_visible("#api-key")
