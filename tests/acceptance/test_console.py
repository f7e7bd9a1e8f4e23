"""The console in Debian's Chromium: what a person does, sees and is kept from, from the first link to a review.

Most tests use a gateway over a store into which they write rows; the first walks the README's path with the real
`pathlane up`. axe-core runs in a context without the CSP, since it must be put into the page; every other test runs
under it, and none may leave a violation of it.
"""

import asyncio
import json
import re
import threading
import time

import httpx
import pytest

from tests.acceptance.conftest import OPTIONS, free_port
from tests.builders import STAINS, a_question
from tests.conftest import ROOT, missing
from tests.console import KEY, Gateway, browser, chromium
from worker.jobs.order import Sender
from worker.jobs.reading import ReadingOutcome

SECONDS = 120
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
HOSTILE = (
    '<img src=x onerror="window.ran=1">', "<script>window.ran=1</script>", "javascript:window.ran=1",
    "<svg onload=window.ran=1>", '"><iframe srcdoc="<script>parent.ran=1</script>">', "{{7*7}}${7*7}",
    "safe \u202ereversed\u202c \u2066isolated\u2069 \u200fmark",
)  # fmt: skip
STATIC = ROOT / "integrations" / "console" / "static"


@pytest.fixture(scope="module")
def chrome():
    if chromium() is None:
        missing("chromium")
    pytest.importorskip("playwright")
    # Playwright's own loop must not be the one of this thread's other tests.
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    started = Gateway(tmp_path_factory.mktemp("console"), free_port()).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def house(gateway):
    """Jobs of every kind, in one store: a slide with its reading, one that failed, some that wait."""
    told = gateway.failing_endpoint(answer=b"the receiver's words")
    jobs = {"slide": gateway.submit(question="What is it?", options=list(STAINS), priority="stat")}
    gateway.read(
        jobs["slide"], **gateway.slide(), answer="B. Immunohistochemistry with DAB", reasoning="Brown."
    )
    jobs["cut"] = gateway.submit(question="Is it cut?")
    gateway.read(
        jobs["cut"], outcome=ReadingOutcome.TRUNCATED, answer="", choice=None, raw_text="<think>on and on"
    )
    told()
    jobs["ordered"] = gateway.order("console")
    jobs["urgent"] = gateway.submit(
        question="Is it urgent?", priority="urgent", due_at="2031-01-01T00:00:00Z"
    )
    return jobs


class Window:
    """One signed-in page, which notes what it must not do."""

    def __init__(self, context, gateway, *, signs_in=True):
        self.gateway = gateway
        self.page = context.new_page()
        self.page.set_default_timeout(SECONDS * 1000)
        self.problems = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.problems.append(dialog.message), dialog.dismiss()))
        self.page.on(
            "console",
            lambda line: self.problems.append(line.text) if "Content Security Policy" in line.text else None,
        )
        self.page.on(
            "request",
            lambda asked: None if asked.url.startswith(gateway.url) else self.problems.append(asked.url),
        )
        if signs_in:
            self.page.goto(gateway.link())
            self.page.wait_for_selector("#pages:not([hidden])")

    def open(self, address, until):
        self.page.goto(f"{self.gateway.url}/console/{address}")
        self.page.wait_for_selector(until)
        return self.page

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector):
        return self.page.inner_text(selector)


@pytest.fixture
def window(chrome, gateway):
    context = chrome.new_context(viewport=WIDE, reduced_motion="reduce")
    opened = Window(context, gateway)
    yield opened
    context.close()
    assert opened.problems == []


def until(condition, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_readmes_path_ends_with_a_reading_and_a_review_in_the_console(up, chrome, ihc, tmp_path):
    link = next(line.split()[-1] for line in up.log().splitlines() if line.startswith("Console:"))
    again = up.run("console").strip()  # another test may have used the one that `up` printed
    assert link.split("#")[0] == again.split("#")[0] == f"{up.url}/console/"
    ihc.save(tmp_path / "tile.png")
    context = chrome.new_context(viewport=WIDE)
    page = context.new_page()
    page.set_default_timeout(150_000)
    page.goto(again)
    page.wait_for_selector("h1:text('Worklist')")
    assert page.url == f"{up.url}/console/#/"  # the link is not in the history
    job = up.submit(tmp_path / "tile.png", "--priority", "stat", options=OPTIONS)
    row = page.locator(f"tr[data-id={job['id']}]")
    row.locator("text=succeeded").wait_for()  # live: nobody reloads
    row.locator("text=Immunohistochemistry with DAB").first.wait_for()
    row.locator("a").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".answered:has-text('Immunohistochemistry with DAB')")
    assert page.inner_text(".notice").startswith("Demonstration model: not a medical statement.")
    assert "Apache-2.0" in page.inner_text(".provenance")
    picture = page.request.get(f"{up.url}/v1/jobs/{job['id']}/patches/0")
    assert (picture.status, picture.headers["content-type"]) == (200, "image/png")
    page.keyboard.press("y")
    page.keyboard.type("Brown indeed.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".reviews li:has-text('Brown indeed.')")
    with up.http as client:
        (review,) = client.get(f"/v1/jobs/{job['id']}/reviews").json()["items"]
        assert (review["verdict"], review["comment"]) == ("agree", "Brown indeed.")
        assert client.get(f"/v1/jobs/{job['id']}").json()["reading"]["answer"].startswith("B.")
    context.close()


def test_a_link_opens_once_and_a_key_opens_whenever_it_is_good(chrome, gateway):
    link = gateway.link()
    for _ in range(2):
        context = chrome.new_context()
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.goto(link)
        page.wait_for_selector("h1:text('Worklist'), #api-key")
        opened = page.inner_text("h1")
        last = context if opened == "Sign in" else context.close()
    assert opened == "Sign in"
    assert "has been used" in page.inner_text("#sign-in-said")
    page.fill("#api-key", "pl_wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#sign-in-said:has-text('unknown, revoked')")
    page.fill("#api-key", KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Worklist')")
    (cookie,) = last.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert KEY not in cookie["value"]
    page.click("#leave")
    page.wait_for_selector("#api-key")
    assert last.cookies() == []
    kept = {"cookie": f"pathlane={cookie['value']}"}
    assert httpx.get(f"{gateway.url}/v1/session", headers=kept, trust_env=False).status_code == 401
    last.close()


def test_worklist_case_and_review_by_keyboard_alone(window, house, gateway):
    page = window.open("", f"tr[data-id={house['slide'].id}]")
    window.press("/")
    page.keyboard.type("S26-console")
    window.press("Enter")
    until(lambda: page.locator("tr[data-group]").count() == 1)
    assert "S26-console" not in page.url
    assert "S26-console" not in page.title()
    window.press("/", "Control+a", "Delete", "Escape", "e")
    page.wait_for_selector(f"tr[data-id={house['slide'].id}]")
    while page.evaluate("document.activeElement.closest('tr')?.dataset.id") != house["slide"].id:
        window.press("j")
    window.press("Enter")
    page.wait_for_selector(".pictures svg image")
    assert page.url == f"{gateway.url}/console/#/jobs/{house['slide'].id}"
    assert "What is it?" not in page.title()
    # the pictures: overview with boxes, then a window on the overview, enlarged and moved
    assert page.locator(".picture .box").count() == 3
    window.press("]")
    page.wait_for_selector(".where:has-text('Patch 2 of 4: window')")
    assert page.locator(".map .box.chosen").count() == 1
    before = page.get_attribute(".picture", "viewBox")
    window.press("i", "+", "ArrowRight")
    assert page.get_attribute(".picture", "viewBox") != before
    window.press("0")
    assert page.get_attribute(".picture", "viewBox") == before
    window.press("Escape", "c")
    page.keyboard.type("No tissue")
    window.press("Tab")
    page.keyboard.type("It is glass.")
    window.press("Control+Enter")
    page.wait_for_selector(".reviews li:has-text('It is glass.')")
    with gateway.client() as client:
        review = client.get(f"/v1/jobs/{house['slide'].id}/reviews").json()["items"][-1]
        assert (review["verdict"], review["corrected_answer"]) == ("correct", "No tissue")
    window.press("Escape", "u")
    page.wait_for_selector("h1:text('Worklist')")
    window.press("g", "d")
    page.wait_for_selector("h1:text('Deliveries')")
    window.press("g", "s")
    page.wait_for_selector("h1:text('Workers and queue')")
    window.press("?")
    page.wait_for_selector("dialog[open]")
    window.press("Escape")
    page.wait_for_selector("dialog", state="hidden")


def test_the_worklist_is_live_and_a_new_stat_case_is_read_out(window, gateway):
    page = window.open("", "#live:has-text('Live')")
    page.wait_for_selector("tr[data-group]")
    job = gateway.submit(question="Came while you looked?", priority="stat")
    row = page.locator(f"tr[data-id={job.id}]")
    row.locator("text=Came while you looked?").wait_for()
    page.wait_for_selector("#said:has-text('new STAT case')", state="attached")
    row.locator("a").focus()
    gateway.read(job, answer="B. It did", choice="B")
    row.locator("text=succeeded").wait_for()
    row.locator("text=B. It did").wait_for()
    assert page.evaluate("document.activeElement.closest('tr')?.dataset.id") == job.id


def test_what_has_no_answer_says_why_and_keeps_what_was_written(window, house):
    page = window.open(f"#/jobs/{house['cut'].id}", ".answer")
    assert "ran into its token limit" in window.text(".answer")
    page.click("text=Everything the model wrote")
    assert "<think>on and on" in window.text(".reasoning")


def test_deliveries_show_their_attempts_and_are_replayed_one_and_all(window, house, gateway):
    del house
    page = window.open("#/deliveries", "tbody tr[data-id]")
    page.evaluate("document.querySelector('tbody').firstChild.dataset.old = 1")
    window.press("f")
    page.wait_for_selector("tbody tr[data-old]", state="detached")
    page.wait_for_selector("tbody tr[data-id]")
    first = page.locator("tbody tr[data-id]").last
    first.locator("summary").click()
    first.locator("text=the receiver's words").wait_for()
    replayed = first.get_attribute("data-id")
    first.locator("button:has-text('Replay')").click()
    page.wait_for_selector("#said:has-text('due again')", state="attached")
    assert gateway.deliveries.get(replayed).status.value == "pending"
    page.click("text=Replay them")
    page.wait_for_selector(".range .said:has-text('due again')")


def test_a_script_in_a_model_a_question_a_message_or_a_receiver_never_runs(chrome, gateway, window):
    everything = "\n".join(HOSTILE)
    fail = gateway.failing_endpoint("hostile", answer=everything.encode())
    asked = gateway.submit(
        question=everything, options=list(HOSTILE), labels={"a": HOSTILE[0]}, correlation_id="javascript:1"
    )
    gateway.read(asked, reasoning=everything, answer=everything, raw_text=everything, **gateway.slide())
    fail()
    gateway.question = a_question(text=everything, options=HOSTILE[:3], protocol="x")
    ordered = gateway.order(
        "hostile", accession=HOSTILE[0], slide=HOSTILE[1],
        sender=Sender(channel="hl7", application=HOSTILE[3], facility=HOSTILE[0]),
    )  # fmt: skip
    gateway.read(ordered, answer=everything)
    gateway.question = a_question()
    with gateway.client() as client:
        body = {"verdict": "correct", "comment": everything, "corrected_answer": everything}
        assert client.post(f"/v1/jobs/{asked.id}/reviews", json=body).status_code == 201
    page = window.open("", f"tr[data-id={ordered.id}]")
    assert "<img src=x" in window.text(f"tr[data-id={ordered.id}]")
    for job in (asked, ordered):
        page = window.open(f"#/jobs/{job.id}", ".answered")
        page.wait_for_selector("#told-title")
        assert HOSTILE[0] in window.text(".answered")
        assert "[U+202E]" in window.text(".answered")
        assert "\u202e" not in page.content()
        for summary in page.locator("summary").all():
            summary.click()
    window.open(f"#/jobs/{asked.id}", ".reviews li")
    page.click(".told summary")
    page.wait_for_selector(".attempts pre")
    page = window.open("#/deliveries", "tbody tr[data-id]")
    page.locator("tr:has-text('hostile') summary").first.click()
    page.wait_for_selector(".attempts pre:has-text('<script>')")
    assert page.evaluate("window.ran") is None
    assert page.locator("iframe, main script, [onerror], [onload], a[href^='javascript']").count() == 0


def test_the_policy_stops_what_slips_through(chrome, gateway):
    """Were text ever to become markup, the browser itself refuses."""
    context = chrome.new_context()
    page = Window(context, gateway).page
    refused = page.evaluate("""() => {
        const refusal = (deed) => { try { deed(); return "taken"; } catch (error) { return error.name; } };
        const box = document.createElement("div");
        return [
            refusal(() => { box.innerHTML = "<img src=x onerror='window.ran=1'>"; }),
            refusal(() => { box.setAttribute("onclick", "window.ran=1"); }),
            refusal(() => { document.createElement("script").text = "window.ran=1"; }),
            refusal(() => { document.createElement("script").src = "https://elsewhere.example/x.js"; }),
        ];
    }""")
    assert refused == ["TypeError"] * 4
    assert page.evaluate("window.ran") is None
    context.close()


def test_every_answer_of_the_console_has_its_headers_and_assets_are_kept_for_ever(gateway):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        page = client.get("/console/")
        assets = re.findall(r'(?:href|src)="(assets/[^"]+)"', page.text)
        assert len(assets) >= 3
        for answer in (page, client.get("/"), *(client.get(f"/console/{name}") for name in assets)):
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
        kept = client.get(f"/console/{assets[0]}")
        assert "immutable" in kept.headers["cache-control"]
        again = client.get("/console/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        version = assets[0].split("/")[1]
        for wrong in (f"assets/{version}/../files.py", "assets/0000/app.js", f"assets/{version}/index.html"):
            assert client.get(f"/console/{wrong}").status_code == 404


def test_no_module_makes_markup_of_strings_and_no_page_has_a_script_of_its_own():
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser|srcdoc|\.setHTML"
        r"|createContextualFragment|https?://(?!www\.w3\.org/2000/svg)"
    )
    for file in STATIC.glob("*.js"):
        assert not forbidden.search(file.read_text()), file.name
        imported = re.findall(r'from "([^"]+)"', file.read_text())
        assert all((STATIC / name).is_file() for name in imported), file.name
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(chrome, gateway, house, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = {}
    context = chrome.new_context(viewport=WIDE, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    window = Window(context, gateway)
    for size in (WIDE, PHONE):
        window.page.set_viewport_size(size)
        for address, ready in pages(house):
            page = window.open(address, ready)
            if address.endswith(house["slide"].id):
                page.click(".told summary")
                page.wait_for_selector(".attempts p, .attempts li")
            found[size["width"], address] = violations(axe, page)
    window.page.keyboard.press("?")
    found["help"] = violations(axe, window.page)
    context.close()
    fresh = chrome.new_context(viewport=WIDE, color_scheme=scheme, bypass_csp=True)
    page = fresh.new_page()
    page.goto(f"{gateway.url}/console/")
    page.wait_for_selector("#api-key")
    found["sign in"] = violations(axe, page)
    fresh.close()
    assert {place: what for place, what in found.items() if what} == {}


def violations(axe, page):
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:150] for node in one["nodes"]][:3]) for one in found]


def pages(house):
    return (
        ("", "tr[data-group]"), (f"#/jobs/{house['slide'].id}", ".provenance"), (f"#/jobs/{house['cut'].id}", ".answer"),
        (f"#/jobs/{house['ordered'].id}", ".below"), ("#/deliveries", "tbody tr[data-id]"), ("#/workers", ".chart"),
    )  # fmt: skip


@pytest.mark.parametrize("size", [WIDE, PHONE, {"width": 320, "height": 640}], ids=["1280", "390", "320"])
def test_no_page_scrolls_sideways(window, house, size):
    window.page.set_viewport_size(size)
    for address, ready in pages(house):
        page = window.open(address, ready)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], address
        if size["width"] == 390:
            small = page.evaluate(
                "[...document.querySelectorAll('button, summary, .segments span, nav a, input:not([type=radio]):not([type=checkbox])')]"
                ".filter(e => e.checkVisibility() && !e.closest('.heard'))"
                ".filter(e => e.getBoundingClientRect().height < 44 && !e.closest('.segments span span'))"
                ".map(e => e.outerHTML.slice(0, 90))"
            )
            assert [one for one in small if "aria-hidden" not in one] == [], address


def test_ten_thousand_jobs_turn_their_pages_and_few_rows_are_in_the_document(chrome, tmp_path):
    gateway = Gateway(tmp_path, free_port())
    many(gateway, 10_000)
    gateway.start()
    context = chrome.new_context(viewport=WIDE)
    try:
        window = Window(context, gateway)
        page = window.open("", "tr[data-group]")
        most = 0
        end = time.monotonic() + 3 * SECONDS
        while page.inner_text(".foot") != "10000 jobs":
            assert time.monotonic() < end, page.inner_text(".foot")
            page.mouse.wheel(0, 20_000)
            page.wait_for_timeout(100)
            most = max(most, page.locator("tr[data-group]").count())
        assert most < 100
        shown = page.evaluate(
            "scrollTo(0, document.body.scrollHeight), [...document.querySelectorAll('tr[data-id]')].length"
        )
        assert shown < 100
        assert work_of_a_frame(page) < 40  # ms of processor time, whatever else the machine does
        assert window.problems == []
    finally:
        context.close()
        gateway.stop()


def work_of_a_frame(page):
    """Milliseconds of its own processor time that the page needs for one frame, scrolling through everything."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked():
        return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}[
            "TaskDuration"
        ]

    before = worked()
    frames = page.evaluate("""async () => {
        let frames = 0;
        for (let y = document.body.scrollHeight; y > 0; y -= 9000, frames += 1) {
            scrollTo(0, y);
            await new Promise(requestAnimationFrame);
        }
        return frames;
    }""")
    return (worked() - before) * 1000 / frames


def many(gateway, count):
    """Jobs without number, put straight into the table: ten thousand submissions are another test's business."""
    from sqlalchemy import insert, select
    from ulid import ULID

    from worker.store.job_rows import jobs

    one = gateway.submit(question="One of many?")
    with gateway.database.write() as connection:
        row = dict(connection.execute(select(jobs).where(jobs.c.id == one.id)).mappings().one())
        rows = [row | {"id": f"job_{ULID()}", "level": n % 3, "asked_level": n % 3} for n in range(count - 1)]
        connection.execute(insert(jobs), rows)


def test_a_hundred_open_consoles_hear_of_a_job(gateway):
    heard = []

    async def listen(client, ready):
        async with client.stream("GET", "/v1/events") as stream:
            assert stream.status_code == 200
            ready.release()
            async for line in stream.aiter_lines():
                if (
                    line.startswith("data: {")
                    and '"submitted"' in line
                    and json.loads(line[6:])["id"] == wanted["id"]
                ):
                    heard.append(1)
                    return

    wanted = {}

    async def consoles():
        with gateway.client() as one:
            one.headers.pop("authorization")
            headers = {"x-pathlane-console": "1"}
            one.post("/v1/session", json={"key": KEY}, headers=headers).raise_for_status()
            cookies = dict(one.cookies)
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            base_url=gateway.url, cookies=cookies, limits=limits, timeout=SECONDS, trust_env=False
        ) as client:
            ready = asyncio.Semaphore(0)
            tasks = [asyncio.create_task(listen(client, ready)) for _ in range(100)]
            for _ in range(100):
                await asyncio.wait_for(ready.acquire(), SECONDS)
            wanted["id"] = (await asyncio.to_thread(gateway.submit, question="Does everybody hear?")).id
            await asyncio.wait_for(asyncio.gather(*tasks), SECONDS)

    # Playwright keeps a loop in this thread.
    thread = threading.Thread(target=asyncio.run, args=(consoles(),))
    thread.start()
    thread.join(4 * SECONDS)
    assert len(heard) == 100
