"""What is counted, logged and told of a case, on a real store with a real worker and a courier's own code."""

import math
import time

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from integrations import tasks
from integrations.gauges import FRESH_SECONDS, Gauges
from integrations.telling import Telling
from integrations.webhooks.delivery import attempt
from integrations.webhooks.signing import Secret
from tests.builders import a_reading, a_request
from tests.integration.queue.engines import Worker, hurry, submit, until
from tests.scrapes import of_this_process
from worker import account, log, traces
from worker.jobs.job import Status
from worker.jobs.reading import ReadingOutcome
from worker.jobs.trace import trace_of
from worker.store.depths import Depths
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.presence import Workers
from worker.store.session import Database

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def worker(database, tmp_path):
    one = Worker(database, tmp_path)
    yield one
    one.close()


@pytest.fixture
def courier(database):
    answer = httpx.MockTransport(lambda _: httpx.Response(204))
    with httpx.Client(transport=answer) as client:
        jobs = Jobs(database)
        telling = Telling(
            jobs=jobs, cases=None, channels={},
            webhook=lambda delivery, now, chance: attempt(delivery, client, now=now, chance=chance),
        )  # fmt: skip
        yield tasks.Courier(
            jobs=jobs, outbox=Outbox(database), telling=telling, attempt_seconds=5, patience_seconds=3600
        )


@pytest.fixture
def lis(database):
    return Endpoints(database).add("lis", "https://lis.example", secret=Secret.new(lambda n: b"k" * n).text)


@pytest.fixture
def told():
    """Spans, by name."""
    spans = {}
    traces.install(lambda span: spans.setdefault(span.name.value, []).append(span))
    yield spans
    traces.install()


@pytest.fixture
def lines():
    """Log lines, with all that is bound to them, as far as it gets out."""
    with capture_logs([structlog.contextvars.merge_contextvars, log.only_listed_fields]) as captured:
        yield lambda: captured


def gauges(database, **settings):
    shown = {"silent_seconds": 60, "queue_limit": 7, "clock": time.monotonic} | settings
    one = Gauges(depths=Depths(database), workers=Workers(database), **shown)
    one.show()
    return one


def read_out(worker, job_id):
    worker.start().hears()
    until(lambda: worker.jobs.get(job_id).status.is_terminal)
    until(lambda: not worker.service.held.all())


def test_a_case_that_was_read_is_counted_once(database, worker, lis, courier):
    before = of_this_process()
    job_id = submit(database, "why", priority="stat")
    read_out(worker, job_id)
    reading = worker.jobs.reading(job_id)
    (delivery,) = Outbox(database).of_job(job_id)
    courier.deliver(delivery.id)
    after = of_this_process()
    assert after.since(before, "pathlane_jobs_ended_total", outcome="answered") == 1
    assert after.since(before, "pathlane_jobs_ended_total", outcome="failed") == 0
    assert after.since(before, "pathlane_generated_tokens_total") == reading.completion_tokens > 0
    assert after.since(before, "pathlane_prompt_tokens_total") == reading.prompt_tokens
    for stage in ("queue", "imaging", "engine", "finish", "delivery"):
        assert after.since(before, "pathlane_stage_duration_seconds_count", stage=stage) == 1
    assert after.since(before, "pathlane_queue_wait_seconds_count", priority="stat") == 1
    assert after.since(before, "pathlane_turnaround_seconds_count", priority="stat") == 1
    spent = after.since(before, "pathlane_case_gpu_seconds_sum")
    assert spent == pytest.approx(reading.timings["device"])
    delivered = {"channel": "webhook", "status": "delivered"}
    assert after.since(before, "pathlane_delivery_attempts_total", **delivered) == 1
    assert after.since(before, "pathlane_delivery_lag_seconds_count", channel="webhook") == 1


def test_its_spans_are_one_trace_in_their_order_and_say_nothing_of_the_case(
    database, worker, lis, courier, told
):
    job = Jobs(database).submit(a_request(question="why"), submitter="lab", traceparent=PARENT).job
    read_out(worker, job.id)
    (delivery,) = Outbox(database).of_job(job.id)
    courier.deliver(delivery.id)
    assert list(told) == ["queue", "read", "finish", "deliver"]
    spans = [span for (span,) in told.values()]
    assert {span.trace.name for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert {span.trace.root_id for span in spans} == {trace_of(job.id).root_id}
    assert [span.began for span in spans] == sorted(span.began for span in spans)
    read, deliver = told["read"][0], told["deliver"][0]
    assert [part.name for part in read.parts] == ["imaging", "engine.decode"]
    assert (read.told["outcome"], read.told["completion_tokens"]) == ("answered", 2)
    assert (deliver.told["status"], deliver.told["http_status"]) == ("delivered", 204)
    assert "Which" not in repr(spans)
    assert "chromogen" not in repr(spans)


def test_an_attempt_that_fails_is_counted_by_its_error_and_the_job_once_at_its_end(database, worker, told):
    before = of_this_process()
    job_id = submit(database, "memory")
    worker.start()
    for attempt_number in (1, 2, 3):
        worker.hears()
        until(lambda number=attempt_number: len(told.get("finish", ())) == number)
        hurry(database)
    after = of_this_process()
    assert worker.jobs.get(job_id).status is Status.FAILED
    assert after.since(before, "pathlane_attempts_failed_total", code="gpu_out_of_memory") == 3
    assert after.since(before, "pathlane_jobs_ended_total", outcome="failed") == 1
    assert [span.is_error for span in told["read"]] == [True] * 3
    assert {span.told["code"] for span in told["read"]} == {"gpu_out_of_memory"}


def test_a_lease_that_ran_out_is_counted_and_said_by_whoever_sweeps(database, worker, lines):
    before = of_this_process()
    job_id = submit(database, "why")
    worker.service.draining.set()  # it sweeps, and reads nothing itself
    for _ in range(3):
        assert worker.jobs.claim(worker_id="dead", lease_seconds=-1).id == job_id
        worker.service.sweep()
    after = of_this_process()
    assert after.since(before, "pathlane_lease_losses_total", seen_by="sweep") == 3
    assert after.since(before, "pathlane_jobs_ended_total", outcome="failed") == 1, (
        "the third time it is poison"
    )
    said = [line for line in lines() if line["event"] == "job.lease_ran_out"]
    assert [line["job_id"] for line in said] == [job_id] * 3


def test_the_courier_counts_what_it_sweeps_too(database, courier):
    before = of_this_process()
    submit(database, "why")
    courier.jobs.claim(worker_id="dead", lease_seconds=-1)
    courier.relay()
    assert of_this_process().since(before, "pathlane_lease_losses_total", seen_by="sweep") == 1


def test_a_holder_that_comes_too_late_to_write_counts_its_lease_as_lost(database, worker):
    before = of_this_process()
    submit(database, "why")
    entry = worker.service.held.add(worker.jobs.claim(worker_id="w1", lease_seconds=-1))
    worker.jobs.sweep(patience_seconds=60)
    worker.service._conclude(entry, a_reading())
    after = of_this_process()
    assert after.since(before, "pathlane_lease_losses_total", seen_by="holder") == 1
    assert after.since(before, "pathlane_jobs_ended_total", outcome="answered") == 0


def test_a_delivery_that_fails_is_an_attempt_and_no_lag(database, lis, courier, told, lines):
    job = courier.jobs.submit(a_request(), submitter="lab").job
    (delivery_id,) = courier.jobs.finish(courier.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    before = of_this_process()
    down = httpx.MockTransport(lambda _: httpx.Response(503))
    with httpx.Client(transport=down) as client:
        courier.telling = Telling(
            jobs=courier.jobs, cases=None, channels={},
            webhook=lambda delivery, now, chance: attempt(delivery, client, now=now, chance=chance),
        )  # fmt: skip
        courier.deliver(delivery_id)
    after = of_this_process()
    pending = {"channel": "webhook", "status": "pending"}
    assert after.since(before, "pathlane_delivery_attempts_total", **pending) == 1
    assert after.since(before, "pathlane_delivery_lag_seconds_count", channel="webhook") == 0
    assert told["deliver"][0].is_error is True
    (line,) = (line for line in lines() if line["event"] == "delivery.attempted")
    assert (line["job_id"], line["trace_id"]) == (job.id, trace_of(job.id).name)
    assert (line["delivery_id"], line["http_status"], line["attempt"]) == (delivery_id, 503, 1)


def test_a_test_event_is_an_attempt_of_no_job(database, lis, courier, told, lines):
    delivery_id = courier.outbox.test(lis.id)
    before = of_this_process()
    courier.deliver(delivery_id)
    after = of_this_process()
    delivered = {"channel": "webhook", "status": "delivered"}
    assert after.since(before, "pathlane_delivery_attempts_total", **delivered) == 1
    assert after.since(before, "pathlane_delivery_lag_seconds_count", channel="webhook") == 0
    assert "deliver" not in told
    (line,) = (line for line in lines() if line["event"] == "delivery.attempted")
    assert line["delivery_id"] == delivery_id
    assert line.keys().isdisjoint({"job_id", "trace_id"})


def test_a_slide_without_tissue_is_a_case_of_no_tokens_and_no_time_of_the_model(worker, told):
    worker.jobs.submit(a_request(), submitter="lab")
    job = worker.jobs.claim(worker_id="w", lease_seconds=30)
    blank = a_reading(
        outcome=ReadingOutcome.NO_TISSUE_FOUND, reasoning="", answer="", choice=None, raw_text="",
        prompt_tokens=0, completion_tokens=0, timings={"imaging": 0.1, "engine": 0.0},
    )  # fmt: skip
    before = of_this_process()
    account.read(job, blank, began=account.now())
    account.ended(job, blank, began=account.now())
    after = of_this_process()
    assert after.since(before, "pathlane_jobs_ended_total", outcome="no_tissue_found") == 1
    assert after.since(before, "pathlane_prompt_tokens_total") == 0
    assert after.since(before, "pathlane_generated_tokens_total") == 0
    assert after.since(before, "pathlane_stage_duration_seconds_count", stage="imaging") == 1
    assert after.since(before, "pathlane_stage_duration_seconds_count", stage="engine") == 0
    assert [part.name for part in told["read"][0].parts] == ["imaging"]


def test_every_line_of_a_job_in_a_worker_has_its_id(database, worker, told, lines):
    job_id = submit(database, "why")
    read_out(worker, job_id)
    mine = [line for line in lines() if line["event"].startswith("job.")]
    assert [line["event"] for line in mine] == ["job.claimed", "job.finished"]
    assert {(line["job_id"], line["trace_id"]) for line in mine} == {(job_id, trace_of(job_id).name)}


def test_the_gauges_say_what_waits_and_for_how_long(database, worker):
    now = [0.0]
    gauges(database, clock=lambda: now[0])
    empty = of_this_process()
    assert empty("pathlane_queue_depth", priority="stat") == 0
    assert (empty("pathlane_store_up"), empty("pathlane_queue_limit")) == (1, 7)
    job_id = submit(database, "why", priority="stat")
    assert of_this_process()("pathlane_queue_depth", priority="stat") == 0, (
        "the last look is believed a while"
    )
    now[0] += FRESH_SECONDS
    waiting = of_this_process()
    assert waiting("pathlane_queue_depth", priority="stat") == 1
    assert waiting("pathlane_queue_depth", priority="routine") == 0
    assert 0 <= waiting("pathlane_queue_oldest_age_seconds", priority="stat") < 60
    read_out(worker, job_id)
    worker.service.beat()
    now[0] += FRESH_SECONDS
    done = of_this_process()
    assert done("pathlane_queue_depth", priority="stat") == 0
    assert done("pathlane_queue_oldest_age_seconds", priority="stat") == 0
    assert (done("pathlane_workers"), done("pathlane_workers_slots")) == (1, 3)


def test_a_routine_job_that_was_lifted_counts_as_what_was_asked_for(database):
    jobs = Jobs(database)
    submit(database, "why")
    jobs.sweep(patience_seconds=0)
    assert {p.value: n for p, n in Depths(database).read().queued.items()} == {
        "stat": 0,
        "urgent": 0,
        "routine": 1,
    }


def test_the_gauges_say_which_deliveries_are_due_and_since_when(database, lis, courier):
    courier.jobs.submit(a_request(), submitter="lab")
    courier.jobs.finish(courier.jobs.claim(worker_id="w", lease_seconds=30), a_reading())
    due = Depths(database).read()
    assert (due.due, due.failing) == (1, 0)
    assert 0 <= due.oldest_due < 60
    Endpoints(database).pause("lis")
    assert Depths(database).read().due == 0, "it waits because somebody wants it to"


def test_without_a_database_the_gauges_are_no_numbers_and_say_why():
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    gauges(away)
    said = of_this_process()
    assert said("pathlane_store_up") == 0
    assert math.isnan(said("pathlane_queue_depth", priority="stat"))
    assert math.isnan(said("pathlane_workers"))
    away.close()
