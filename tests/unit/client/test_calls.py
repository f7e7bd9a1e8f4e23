"""What the client decides, without a socket: steps are taken from a script, and time goes as they say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

import pytest

from integrations.client import Job, Refused, Unavailable, WaitTimeout
from integrations.client.calls import SILENCE, Calls
from integrations.client.site import Site
from integrations.client.steps import Answer, Ear, Heard, Listen, Lost, Pause, Send

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
QUEUED = {"id": "job_1", "status": "queued"}
DONE = {"id": "job_1", "status": "succeeded", "reading": {"outcome": "answered", "answer": "B. DAB"}}


def says(document, status=200, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, content=json.dumps(document).encode())


def problem(status, code, **more):
    headers = {"retry_after": more.pop("retry_after")} if "retry_after" in more else {}
    return says({"code": code, "status": status, "detail": "A sentence."} | more, status, **headers)


class Play:
    """Takes the steps of a call; the last line of the script is repeated."""

    def __init__(self, *script, **parts):
        self.script = list(script)
        self.sent, self.paused, self.listened = [], [], 0
        self.seconds = 0.0
        keys = count(1)
        usual = {
            "clock": lambda: self.seconds,
            "now": lambda: NOW,
            "chance": lambda: 0.5,
            "new_key": lambda: f"key-{next(keys)}",
        }
        self.calls = Calls(**usual | parts)

    def take(self, steps):
        came = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                return end.value
            match step:
                case Pause(seconds=seconds):
                    self.paused.append(seconds)
                    self.seconds += seconds
                    came = None
                    continue
                case Send():
                    self.sent.append(step)
                case Listen():
                    self.listened += 1
            came = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if callable(came):
                came = came(step)

    def bodies(self):
        return [json.loads(send.body) for send in self.sent]


def test_a_submission_that_got_lost_is_sent_again_under_the_same_key():
    play = Play(Lost(reason="ReadTimeout"), Lost(reason="ConnectError"), says(QUEUED, 202))
    job = play.take(play.calls.submit("file:/a.png", "Which?", {"priority": "stat"}))
    assert (job.id, job.has_ended) == ("job_1", False)
    first, *others = play.bodies()
    assert others == [first, first]
    assert first == {
        "images": [{"reference": "file:/a.png"}], "question": "Which?", "priority": "stat", "idempotency_key": "key-1",
    }  # fmt: skip
    assert play.paused == [0.5, 1.0]


def test_a_callers_own_key_is_kept():
    play = Play(says(QUEUED, 202))
    play.take(play.calls.submit(["file:/a.png"], "Which?", {"idempotency_key": "case-4711", "due_at": NOW}))
    (body,) = play.bodies()
    assert (body["idempotency_key"], body["due_at"]) == ("case-4711", "2026-11-24T09:00:00+00:00")


def test_bytes_among_images_are_uploaded_and_references_are_not():
    play = Play(says({"reference": "upload:sha256-1"}, 201), says(QUEUED, 202))
    play.take(play.calls.submit([b"PNG", {"reference": "file:/b", "frame": 2}], "Which?", {}))
    upload, submission = play.sent
    assert (upload.path, upload.body) == ("/v1/uploads", b"PNG")
    assert json.loads(submission.body)["images"] == [
        {"reference": "upload:sha256-1"},
        {"reference": "file:/b", "frame": 2},
    ]


@pytest.mark.parametrize("call", ["rerun", "review"])
def test_whatever_makes_something_new_has_a_key(call):
    answer = QUEUED if call == "rerun" else {"id": "rev_1", "job_id": "job_1", "verdict": "agree"}
    play = Play(problem(503, "store_unavailable"), says(answer, 201))
    arguments = (None,) if call == "rerun" else ("agree", "", None, None)
    play.take(getattr(play.calls, call)("job_1", *arguments))
    assert [send.headers["idempotency-key"] for send in play.sent] == ["key-1", "key-1"]


@pytest.mark.parametrize(
    ("said", "pause"),
    [("7", 7.0), (format_datetime(NOW + timedelta(seconds=9), usegmt=True), 9.0), ("soon", 0.5), ("-3", 0.5), ("0", 0.5), ("²", 0.5)],
)  # fmt: skip
def test_retry_after_is_obeyed_in_both_its_forms(said, pause):
    play = Play(problem(429, "rate_limited", retry_after=said), says(QUEUED))
    assert play.take(play.calls.get("job_1")).status == "queued"
    assert play.paused == [pause]


def test_a_gateway_that_asks_for_more_than_patience_is_unavailable_at_once():
    play = Play(problem(429, "queue_full", retry_after="3600"))
    with pytest.raises(Unavailable) as caught:
        play.take(play.calls.get("job_1"))
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("queue_full", 429, 3600.0)
    assert (len(play.sent), play.paused) == (1, [])


@pytest.mark.parametrize(
    "came", [problem(503, "store_unavailable"), Lost(reason="ConnectError"), says("", 502)]
)
def test_after_the_last_try_it_is_unavailable(came):
    play = Play(came, tries=3)
    with pytest.raises(Unavailable):
        play.take(play.calls.get("job_1"))
    assert (len(play.sent), len(play.paused)) == (3, 2)


def test_what_is_refused_is_not_asked_again_and_says_which_field():
    play = Play(problem(422, "invalid_request", errors=[{"field": "question", "reason": "is missing"}]))
    with pytest.raises(Refused) as caught:
        play.take(play.calls.submit("file:/a", "Müller?", {}))
    error = caught.value
    assert (error.code, error.status, error.problems) == (
        "invalid_request",
        422,
        (("question", "is missing"),),
    )
    assert (len(play.sent), "Müller" in repr(error)) == (1, False)


@pytest.mark.parametrize(
    "answer",
    [
        says([]),
        Answer(status=200, headers={}, content=b"<html>\xff"),
        says({"id": "x"}),
        says({"id": 1, "status": "a", "created_at": "now"}),
    ],
)
def test_a_success_that_is_not_pathlanes_is_refused(answer):
    play = Play(answer)
    with pytest.raises(Refused, match="look at the URL"):
        play.take(play.calls.get("job_1"))


def test_a_redirect_to_a_sign_on_page_is_refused_and_no_key_follows_it():
    play = Play(Answer(status=302, headers={"location": "https://sso"}, content=b""))
    with pytest.raises(Refused) as caught:
        play.take(play.calls.get("job_1"))
    assert (caught.value.code, len(play.sent)) == ("http_302", 1)


def test_waiting_listens_and_looks_once_the_end_is_told():
    play = Play(says(QUEUED), Heard.ENOUGH, says(DONE))
    assert play.take(play.calls.wait("job_1", 600)).reading.answer == "B. DAB"
    assert (play.listened, play.paused) == (1, [])


def test_a_stream_that_the_gateway_closed_is_taken_up_again():
    play = Play(says(QUEUED), Heard.CLOSED, says(QUEUED), Heard.ENOUGH, says(DONE))
    assert play.take(play.calls.wait("job_1", 600)).has_ended
    assert play.listened == 2


def test_where_there_is_no_listening_it_looks():
    play = Play(says(QUEUED), Heard.NOTHING, *[says(QUEUED)] * 20, says(DONE))
    assert play.take(play.calls.wait("job_1", 600)).has_ended
    assert play.listened == 1
    assert play.paused == sorted(play.paused)
    assert play.paused[-1] == 2.0


@pytest.mark.parametrize("timeout", [0, 3, 100])
def test_a_wait_ends_when_it_was_to_end(timeout):
    def answer(step):
        if isinstance(step, Listen):
            play.seconds = timeout - SILENCE + 1
            return step.ear.hear(": heartbeat")
        return says(QUEUED)

    play = Play(answer)
    with pytest.raises(WaitTimeout, match="job_1 is queued") as caught:
        play.take(play.calls.wait("job_1", timeout))
    assert caught.value.job_id == "job_1"
    assert play.seconds == pytest.approx(timeout)
    assert play.listened == (timeout > SILENCE)


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        ('data: {"status": "succeeded"}', Heard.ENOUGH), ('data:{"status":"failed"}', Heard.ENOUGH),
        ('data: {"status": "running"}', None), ("data: succeeded", None), ("data: []", None), (": data", None), ("", None),
        ("event: job", None), ('id: {"status": "succeeded"}', None),
    ],
)  # fmt: skip
def test_an_ear_hears_only_the_end(line, heard):
    assert Ear(until=1, clock=lambda: 0).hear(line) is heard


def test_a_list_goes_from_page_to_page_and_filters_stand_in_no_url():
    play = Play(says({"items": [QUEUED], "next": "c1"}), says({"items": [], "next": None}))
    items, cursor = play.take(play.calls.page({"accession": "S26-1"}, None))
    assert ([item.id for item in items], cursor) == (["job_1"], "c1")
    assert play.take(play.calls.page({"accession": "S26-1"}, cursor)) == ([], None)
    assert {send.path for send in play.sent} == {"/v1/jobs/search"}
    assert play.bodies() == [{"accession": "S26-1"}, {"accession": "S26-1", "cursor": "c1"}]


def test_an_id_cannot_lead_to_another_path():
    play = Play(says(QUEUED))
    play.take(play.calls.get("../keys?x=/"))
    assert play.sent[0].path == "/v1/jobs/..%2Fkeys%3Fx%3D%2F"


def test_fields_that_are_not_known_are_kept_and_text_of_the_case_is_in_no_repr():
    document = DONE | {
        "question": "Q-text", "options": ["option-1", "option-2"], "labels": {"a": "L-text"}, "created_at": "2026-11-24T09:00:00.000Z",
        "error": {"code": "x", "text": None, "more": 1}, "of_tomorrow": {"deep": 1},
    }  # fmt: skip
    document["reading"] = document["reading"] | {
        "reasoning": "R-text",
        "provenance": {"model": "demo"},
        "raw_text": "raw",
    }
    job = Job.read(document)
    assert job.extra == {"of_tomorrow": {"deep": 1}}
    assert job.reading.extra == {"raw_text": "raw"}
    assert (job.created_at, job.options, job.reading.model, job.error.extra) == (
        NOW,
        ("option-1", "option-2"),
        "demo",
        {"more": 1},
    )
    assert not any(text in repr(job) for text in ("Q-text", "L-text", "R-text", "DAB", "option-1"))


def test_a_key_is_in_a_header_and_nowhere_else():
    site = Site.of("https://pathlane.example/", "pl_secret\n")
    assert site.url("/v1/jobs") == "https://pathlane.example/v1/jobs"
    assert site.headers()["authorization"] == "Bearer pl_secret"
    assert "secret" not in repr(site)
    for url, key in (
        ("ftp://x", "pl_1"),
        ("pathlane.example", "pl_1"),
        ("https://x", "\n"),
        ("https://x", "é"),
    ):
        with pytest.raises(ValueError):
            Site.of(url, key)
