"""Only what is listed gets out."""

import json
import logging
import subprocess
import sys
import threading

import pytest
import structlog

from worker import log


@pytest.fixture
def lines(capsys):
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers[:] = []


SPEAKER = """
from worker import log
log.configure("worker")
for count in range(500):
    log.get("x").info("job.claimed", count=count)
"""


def test_lines_of_programs_that_share_a_file_stay_whole(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        speakers = [subprocess.Popen([sys.executable, "-c", SPEAKER], stderr=file) for _ in range(4)]
        assert [speaker.wait(60) for speaker in speakers] == [0] * 4
    said = [json.loads(line)["count"] for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(said) == sorted([*range(500)] * 4)


def test_a_field_that_is_not_listed_is_dropped(lines):
    log.configure("worker")
    log.get("x").info("job.claimed", job_id="job_1", question="Canary", path="/canary.png")
    (line,) = lines()
    assert (line["event"], line["job_id"], line["program"]) == ("job.claimed", "job_1", "worker")
    assert "anary" not in json.dumps(line)


def test_lines_of_every_thread_say_which_program_it_is(lines):
    log.configure("worker")
    thread = threading.Thread(target=lambda: log.get("x").info("job.claimed", job_id="job_1"))
    thread.start()
    thread.join()
    (line,) = lines()
    assert line["program"] == "worker"


def test_a_logger_made_before_configuring_drops_them_too(lines):
    logger = log.get("early")
    log.configure("worker")
    logger.warning("x", question="Canary", count=1)
    (line,) = lines()
    assert (line["room"], line["count"]) == ("early", 1)
    assert "Canary" not in json.dumps(line)


def test_a_librarys_message_is_reduced_to_its_place(lines):
    log.configure("worker")
    try:
        raise ValueError("Canary")
    except ValueError:
        logging.getLogger("kombu").exception("failed for %s", "Canary")
    (line,) = lines()
    assert (line["logger"], line["kind"]) == ("kombu", "ValueError")
    assert "Canary" not in json.dumps(line)


def test_an_error_is_told_by_kind_and_place_only():
    try:
        int("Canary")
    except ValueError as error:
        told = log.kind_and_place(error)
    assert told["kind"] == "ValueError"
    assert told["where"].startswith("test_log.py:")
