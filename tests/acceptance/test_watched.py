"""One case from submission to delivery, as Prometheus, a collector and whoever reads the logs see it."""

import json
import os
import signal
import time
from itertools import pairwise

import pytest

from integrations.demo.receiver import Receiver
from tests import scrapes
from tests.acceptance.conftest import free_port, started_in
from tests.builders import STAINS
from tests.collector import Collector
from worker.jobs.trace import trace_of
from worker.metrics import Program
from worker.settings import embedded_socket

QUESTION = "Which stain is shown, Canary?"
#: of a submitter that traces
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def collector():
    one = Collector()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def watched(collector, tmp_path_factory):
    """A stack with everything on, an endpoint that listens, and the first of its metrics' ports."""
    port = free_port()
    settings = {"METRICS_PORT": str(port), "TRACES_URL": collector.url, "SWEEP_SECONDS": "1"}
    receiver = Receiver()
    with started_in(tmp_path_factory.mktemp("watched")) as start:
        up = start(**settings)
        receiver.start(json.loads(up.run("endpoint", "add", "lis", receiver.url, "--json"))["secret"])
        yield up, port, receiver
    receiver.stop()


def submit(up, picture, **headers):
    with up.http as client:
        reference = client.post("/v1/uploads", content=picture).json()["reference"]
        body = {
            "images": [{"reference": reference}],
            "question": QUESTION,
            "options": STAINS,
            "priority": "stat",
        }
        return client.post("/v1/jobs", json=body, headers=headers).json()["id"]


def png(image):
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def scrape(port, program):
    return scrapes.of_port(port + program.place)


def lines_of(up, job_id):
    lines = [json.loads(line) for line in up.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("job_id") == job_id]


def test_the_metrics_of_a_case_mean_what_they_say(watched, ihc):
    up, port, receiver = watched
    (pid,) = up.pids()
    before = {
        program: scrape(port, program) for program in (Program.GATEWAY, Program.WORKER, Program.COURIER)
    }
    assert before[Program.GATEWAY]("pathlane_workers") == 1
    assert before[Program.WORKER]("pathlane_slots") == 4
    os.kill(pid, signal.SIGSTOP)  # nobody claims meanwhile
    try:
        job_id = submit(up, png(ihc))
        up.until(lambda: scrape(port, Program.GATEWAY)("pathlane_queue_depth", priority="stat") == 1)
        assert scrape(port, Program.GATEWAY)("pathlane_queue_oldest_age_seconds", priority="stat") > 0
        time.sleep(0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    up.until(lambda: receiver.of_job(job_id))
    up.until(lambda: up.show(job_id)["deliveries"][0]["status"] == "delivered")
    up.until(lambda: scrape(port, Program.GATEWAY)("pathlane_queue_depth", priority="stat") == 0)
    reading = up.show(job_id)["reading"]
    gateway, worker, courier = (scrape(port, program) for program in before)

    def gained(now, program, name, **labels):
        return now.since(before[program], name, **labels)

    assert gained(gateway, Program.GATEWAY, "pathlane_jobs_submitted_total", channel="http") == 1
    assert gateway("pathlane_deliveries_due") == 0
    assert gained(worker, Program.WORKER, "pathlane_jobs_ended_total", outcome="answered") == 1
    assert gained(worker, Program.WORKER, "pathlane_jobs_ended_total", outcome="failed") == 0
    assert gained(worker, Program.WORKER, "pathlane_generated_tokens_total") == reading["completion_tokens"]
    assert gained(worker, Program.WORKER, "pathlane_prompt_tokens_total") == reading["prompt_tokens"]
    assert gained(worker, Program.WORKER, "pathlane_queue_wait_seconds_sum", priority="stat") > 0.5
    assert gained(worker, Program.WORKER, "pathlane_turnaround_seconds_count", priority="stat") == 1
    spent = gained(worker, Program.WORKER, "pathlane_case_gpu_seconds_sum")
    assert spent == pytest.approx(reading["timings"]["device"], abs=1e-3)
    assert 0 < spent < 1.5 * reading["timings"]["engine"] + 1
    assert reading["timings"]["first_token"] <= reading["timings"]["engine"]
    assert worker("pathlane_slots_used") == 0
    delivered = {"channel": "webhook", "status": "delivered"}
    assert gained(courier, Program.COURIER, "pathlane_delivery_attempts_total", **delivered) == 1
    assert gained(courier, Program.COURIER, "pathlane_delivery_lag_seconds_count", channel="webhook") == 1
    assert gained(courier, Program.COURIER, "pathlane_delivery_lag_seconds_sum", channel="webhook") < 150
    for text in (gateway.text, worker.text, courier.text):
        assert job_id not in text
        assert "Canary" not in text


#: span -> the span it lies in, in the order of their beginnings
WAY = {
    "submit": None, "queue": "submit", "read": "submit", "imaging": "read", "engine.prefill": "read",
    "engine.decode": "read", "finish": "submit", "deliver": "submit",
}  # fmt: skip
SERVICES = {
    "pathlane-gateway": {"submit"},
    "pathlane-worker": {"queue", "read", "imaging", "engine.prefill", "engine.decode", "finish"},
    "pathlane-courier": {"deliver"},
}


@pytest.mark.parametrize("headers", [{}, {"traceparent": PARENT}], ids=["its own", "the submitter's"])
def test_the_spans_of_a_case_are_one_trace_from_submission_to_delivery(watched, collector, ihc, headers):
    up, _, receiver = watched
    job_id = submit(up, png(ihc), **headers)
    up.until(lambda: receiver.of_job(job_id))
    up.until(lambda: len(collector.of_job(job_id)) == len(WAY))
    spans = {span.name: span for span in collector.of_job(job_id)}
    assert list(spans) == list(WAY)
    trace_id, caller = PARENT.split("-")[1:3] if headers else (trace_of(job_id).name, "")
    assert {span.trace_id for span in spans.values()} == {trace_id}
    for name, parent in WAY.items():
        assert spans[name].parent_id == (spans[parent].span_id if parent else caller)
    for parts in (["queue", "read", "finish", "deliver"], ["imaging", "engine.prefill", "engine.decode"]):
        for one, following in pairwise(parts):
            assert spans[one].ended <= spans[following].began + 5_000_000  # timestamps of a database: 1 ms
    assert all(span.ended >= span.began for span in spans.values())
    assert not any(span.is_error for span in spans.values())
    for service, names in SERVICES.items():
        assert {name for name, span in spans.items() if span.service == service} == names
    read, deliver = spans["read"].attributes, spans["deliver"].attributes
    assert (read["pathlane.outcome"], read["pathlane.priority"]) == ("answered", "stat")
    assert read["pathlane.completion_tokens"] == up.show(job_id)["reading"]["completion_tokens"]
    assert (deliver["pathlane.status"], deliver["pathlane.channel"]) == ("delivered", "webhook")
    assert b"Canary" not in collector.raw
    assert b"chromogen" not in collector.raw
    assert receiver.of_job(job_id).encode() not in collector.raw


def test_one_job_id_goes_through_the_logs_of_all_programs(watched, ihc):
    up, _, receiver = watched
    job_id = submit(up, png(ihc))
    up.until(lambda: receiver.of_job(job_id))
    way = [
        ("gateway", "job.submitted"), ("worker", "job.claimed"), ("worker", "job.finished"),
        ("courier", "delivery.attempted"),
    ]  # fmt: skip
    up.until(lambda: len(lines_of(up, job_id)) == len(way))
    lines = sorted(lines_of(up, job_id), key=lambda line: line["timestamp"])
    assert [(line["program"], line["event"]) for line in lines] == way
    assert {line["trace_id"] for line in lines} == {trace_of(job_id).name}
    assert "Canary" not in up.log()


def test_a_request_by_celery_joins_its_senders_trace(watched, collector, ihc):
    from celery import Celery

    up, _, _ = watched
    with up.http as client:
        reference = client.post("/v1/uploads", content=png(ihc)).json()["reference"]
    app = Celery(broker=f"redis+socket://{embedded_socket(up.data.resolve())}")
    app.conf.broker_transport_options = {"global_keyprefix": "pathlane:"}
    request = {"images": [{"reference": reference}], "question": QUESTION, "idempotency_key": "by-celery"}
    app.send_task("pathlane.submit", args=[request], queue="pathlane.submit", headers={"traceparent": PARENT})
    app.close()

    def submitted():
        return [
            span for span in collector.spans if (span.service, span.name) == ("pathlane-courier", "submit")
        ]

    up.until(submitted)
    (span,) = submitted()
    assert (span.trace_id, span.parent_id) == tuple(PARENT.split("-")[1:3])
    assert span.attributes["pathlane.channel"] == "celery"
