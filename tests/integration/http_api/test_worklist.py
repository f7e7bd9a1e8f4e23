"""Lists: their order, their filters, what they cost, and cursors that skip and repeat nothing."""

import base64
import json
import time
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, update

from integrations.http_api.cursors import cursor_of, list_name, position_of
from tests.builders import a_question, a_reading, a_request, an_order
from tests.depth import fill
from tests.integration.http_api.conftest import BODY, SEAL
from tests.integration.http_api.test_api import problem, said
from worker.errors import InvalidRequest
from worker.jobs.job import Status
from worker.jobs.order import Channel
from worker.store.intake import Arrival, Intake
from worker.store.job_rows import jobs as table
from worker.store.listing import Filters, Sorting
from worker.store.session import clock


def submit(client, **fields):
    return client.post("/v1/jobs", json=BODY | fields).json()["id"]


def ids(response):
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


def an_arrival(order, number=1):
    return Arrival(
        channel=Channel.HL7, application="IMA", facility="PATH", control_id=f"M{number}",
        raw=b"MSH|%d" % number, orders=(order,),
    )  # fmt: skip


@pytest.fixture
def ordered(database):
    """A job that an order of the lab's made."""
    intake = Intake(database, SEAL, lambda _: [a_question()])
    (receipt,) = intake.take([an_arrival(an_order())])
    return receipt.jobs[0]


def test_the_worklist_begins_with_stat_and_goes_on_by_due_time_and_age(client):
    routine = submit(client)
    urgent = submit(client, priority="urgent")
    stat = submit(client, priority="stat")
    soon = submit(client, due_at="2999-01-01T00:00:00Z")
    assert ids(client.get("/v1/jobs?order=worklist")) == [stat, urgent, soon, routine]
    assert ids(client.get("/v1/jobs")) == [soon, stat, urgent, routine]


def test_a_list_shows_what_a_worklist_needs(client, api, ordered):
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    client.post(f"/v1/jobs/{ordered}/reviews", json={"verdict": "agree"})
    (item,) = client.get("/v1/jobs").json()["items"]
    assert (item["status"], item["outcome"], item["answer"], item["choice"]) == (
        "succeeded", "answered", "B. DAB", "B",
    )  # fmt: skip
    assert item["reviews"] == 1
    origin = item["origin"]
    assert (origin["accession"], origin["slide"]) == ("S26-0001", "S26-0001-A1")
    assert (origin["channel"], origin["application"], origin["facility"]) == ("hl7", "IMA", "PATH")
    assert item["question"] == "Which stain is shown?"
    assert item["age_seconds"] >= 0
    assert client.get(f"/v1/jobs/{ordered}").json()["origin"] == origin


def test_a_job_that_was_asked_again_says_where_the_first_one_came_from_and_tells_nobody(client, api, ordered):
    client.post(f"/v1/jobs/{ordered}/cancel")
    again = client.post(f"/v1/jobs/{ordered}/rerun").json()["id"]
    item = next(item for item in client.get("/v1/jobs").json()["items"] if item["id"] == again)
    assert item["origin"]["accession"] == "S26-0001"
    assert api.stores.jobs.get(again).request.endpoints == ()


def test_filters_hold_together(client, api):
    done = submit(client, priority="urgent", correlation_id="c-1")
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    waiting = submit(client, priority="stat", labels={"site": "A"})
    assert ids(client.get("/v1/jobs?status=succeeded")) == [done]
    assert ids(client.get("/v1/jobs?status=queued&status=running")) == [waiting]
    assert ids(client.get("/v1/jobs?priority=stat&status=succeeded")) == []
    assert ids(client.get("/v1/jobs?correlation_id=c-1&order=worklist")) == [done]
    assert ids(client.get("/v1/jobs", params={"created_after": "2999-01-01T00:00:00Z"})) == []
    assert ids(client.get("/v1/jobs", params={"created_before": "2999-01-01T00:00:00+02:00"})) == [
        waiting,
        done,
    ]
    assert ids(client.get("/v1/jobs?submitter=lab")) == [waiting, done]
    assert ids(client.post("/v1/jobs/search", json={"labels": {"site": "A"}})) == [waiting]
    assert ids(client.post("/v1/jobs/search", json={"labels": {"site": "B"}})) == []


def test_text_of_a_case_is_looked_for_in_a_body_and_in_no_url(client, ordered):
    other = submit(client)
    for body in (
        {"accession": "S26-0001"},
        {"slide": "S26-0001-A1"},
        {"accession": "S26-0001", "domain": ""},
    ):
        assert ids(client.post("/v1/jobs/search", json=body)) == [ordered]
        assert ids(client.post("/v1/jobs/search", json=body | {"order": "worklist"})) == [ordered]
    assert ids(client.post("/v1/jobs/search", json={"accession": "S26-0002"})) == []
    assert ids(client.post("/v1/jobs/search", json={"order": "worklist"})) == [ordered, other]
    refused = problem(client.get("/v1/jobs?accession=S26-0001"), 422, "invalid_request")
    assert "S26-0001" not in json.dumps(refused), "nor is it said in a problem"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "status=done", "cursor=!!", "created_after=yesterday", "stauts=queued"]
)
def test_a_filter_that_is_none_is_refused(client, query):
    problem(client.get(f"/v1/jobs?{query}"), 422, "invalid_request")


def test_a_cursor_of_another_list_is_refused(client):
    for _ in range(3):
        submit(client)
    cursor = client.get("/v1/jobs?limit=1").json()["next"]
    assert ids(client.get(f"/v1/jobs?limit=1&cursor={cursor}"))
    for query in ("order=worklist", "status=queued", "priority=stat"):
        problem(client.get(f"/v1/jobs?{query}&cursor={cursor}"), 422, "invalid_request")
    assert client.get("/v1/jobs?limit=3").json()["next"] is None


@given(
    st.one_of(
        st.text(max_size=40), st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode())
    )
)
def test_whatever_is_no_cursor_is_a_problem_and_no_error(cursor):
    with pytest.raises(InvalidRequest):
        position_of(cursor, "jobs")


@given(
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8),
                       st.just("2026-01-01T00:00:00+00:00")), max_size=6)
)  # fmt: skip
def test_a_cursor_that_somebody_made_up_is_a_problem_or_a_position(values):
    cursor = base64.urlsafe_b64encode(json.dumps(["jobs", *values]).encode()).decode().rstrip("=")
    try:
        position = position_of(cursor, "jobs")
    except InvalidRequest:
        return
    assert position_of(cursor_of(position, "jobs"), "jobs") == position


def test_a_page_with_answers_is_one_row_of_the_audit(client, api, database):
    for _ in range(3):
        submit(client)
    client.get("/v1/jobs")
    assert "listed" not in [action for action, _ in said(database)], "nothing was there to be read"
    for _ in range(2):
        api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    hidden = client.get("/v1/jobs?answers=false").json()["items"]
    assert [item["answer"] for item in hidden] == [None] * 3
    assert "listed" not in [action for action, _ in said(database)]
    client.get("/v1/jobs")
    me = f"key:lab:{api.stores.keys.all()[0].id}"
    assert said(database)[-1] == ("listed", me)


def statements(database, action):
    sent = []
    event.listen(database.engine, "before_cursor_execute", lambda *a: sent.append(a[2]))
    action()
    return [one for one in sent if one.startswith("SELECT") and "api_keys" not in one]


def test_a_page_costs_the_same_queries_however_long_it_is(client, api, database):
    fill(database, 300)
    intake = Intake(database, SEAL, lambda _: [a_question()])
    intake.take([an_arrival(an_order(accession=f"S{n}", slide=f"S{n}-1"), n) for n in range(20)])
    for order in ("newest", "worklist"):
        counts = {
            limit: len(
                statements(database, lambda o=order, n=limit: client.get(f"/v1/jobs?order={o}&limit={n}"))
            )
            for limit in (25, 300)
        }
        assert counts[25] == counts[300] <= 2


@pytest.mark.parametrize("sorting", Sorting)
def test_a_worklist_of_ten_thousand_is_read_from_an_index_in_time(api, database, sorting):
    fill(database, 10_000)
    listing = api.stores.listing
    listing.page(Filters(), sorting, limit=100)
    spent = []
    after = None
    for _ in range(5):
        begun = time.process_time()
        page = listing.page(Filters(), sorting, after=after, limit=100)
        spent.append(time.process_time() - begun)
        after = page.end
    assert len(page.items) == 100
    assert min(spent) < 0.2


PRIORITIES = st.sampled_from(["stat", "urgent", "routine"])
CHANGE = st.tuples(st.sampled_from(["insert", "claim", "finish", "lift"]), PRIORITIES)
#: the jobs that are there, and what happens after each page
STORIES = st.tuples(st.lists(PRIORITIES, max_size=8), st.lists(st.lists(CHANGE, max_size=3), max_size=6))


def change(jobs, database, what, priority):
    if what == "insert":
        jobs.submit(a_request(priority=priority), submitter="lab")
    elif what == "lift":
        with database.write() as connection:
            connection.execute(update(table).where(table.c.level == 2).values(level=1))
    else:
        job = jobs.claim(worker_id="w", lease_seconds=30)
        if job and what == "finish":
            jobs.finish(job, a_reading())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(sorting=st.sampled_from(Sorting), limit=st.integers(1, 4), story=STORIES)
def test_cursors_skip_and_repeat_nothing_while_jobs_come_and_change(api, database, sorting, limit, story):
    jobs, (there, turns) = api.stores.jobs, story
    with database.write() as connection:  # what earlier examples left ends up far away
        connection.execute(update(table).values(status=Status.CANCELLED, created_at=clock(-86_400)))
    there = {jobs.submit(a_request(priority=one), submitter="lab").job.id for one in there}
    filters = Filters(created_after=jobs.queue().at - timedelta(hours=1))
    seen, after, turns = [], None, iter(turns)
    while True:
        page = api.stores.listing.page(filters, sorting, after=after, limit=limit)
        seen += [item.id for item in page.items]
        for what, priority in next(turns, ()):
            change(jobs, database, what, priority)
        if page.end is None:
            break
        after = position_of(cursor_of(page.end, "l"), "l")
    assert len(seen) == len(set(seen)), "nothing came twice"
    assert there <= set(seen), "nothing was skipped"


def test_a_list_has_the_same_name_for_the_same_filters_only():
    assert list_name("jobs", a=1, b=(Status.QUEUED,)) == list_name("jobs", b=(Status.QUEUED,), a=1)
    assert list_name("jobs", a=1) != list_name("jobs", a=2)
