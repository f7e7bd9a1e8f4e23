"""Every example is run as its page says, and prints the right answer to a real picture."""

import shutil
import subprocess
import sys
import time

import pytest

from integrations.client import Pathlane, verify
from integrations.demo.receiver import Receiver
from tests.conftest import ROOT, missing
from worker.settings import embedded_socket

EXAMPLES = ROOT / "docs" / "examples"
DAB = "B. Immunohistochemistry with DAB"


@pytest.fixture
def picture(ihc, tmp_path):
    ihc.save(tmp_path / "tile.png")
    return tmp_path / "tile.png"


def run(*command):
    ended = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(
    ("program", "example"),
    [
        ([sys.executable], "client.py"),
        (["bash"], "curl.sh"),
        (["node"], "client.mjs"),
    ],
    ids=["Python", "curl", "JavaScript"],
)
def test_an_example_prints_the_answer(up, picture, program, example, monkeypatch):
    for needed in {*program, *(("curl", "jq") if example == "curl.sh" else ())}:
        if shutil.which(needed) is None:
            missing(needed)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run(*program, EXAMPLES / example, up.url, up.data / "api-key", picture) == DAB


def test_a_bare_send_task_becomes_a_job_with_the_right_answer(up, picture):
    broker = f"redis+socket://{embedded_socket(up.data.resolve())}"
    with Pathlane(up.url, up.key) as pathlane:
        reference = pathlane.upload(picture)
        for _ in range(2):  # it may be sent twice, and is one job
            run(sys.executable, EXAMPLES / "celery_send_task.py", broker, reference, "case-4711")
        up.until(lambda: [*pathlane.list(correlation_id="case-4711")])
        time.sleep(1)
        (listed,) = pathlane.list(correlation_id="case-4711")
        assert pathlane.wait(listed).reading.answer == DAB


class Verifying(Receiver):
    """The demonstration's receiver, with the client's `verify` beside the reference package."""

    def __init__(self):
        super().__init__()
        self.events = {}

    def _take(self, body, headers):
        event = verify(body, headers, self.secret)
        self.events[event.job_id] = event
        return super()._take(body, headers)


def test_what_the_courier_sends_is_verified_and_leads_to_the_job(up, picture):
    import json

    receiver = Verifying()
    added = json.loads(up.run("endpoint", "add", "client", receiver.url, "--json"))
    receiver.secret = added["secret"]
    receiver.start(added["secret"])
    try:
        with Pathlane(up.url, up.key) as pathlane:
            job = pathlane.submit(picture, "Which stain is shown?", endpoints=["client"])
            up.until(lambda: job.id in receiver.events)
            event = receiver.events[job.id]
            assert (event.type, event.data["status"]) == ("job.succeeded", "succeeded")
            assert event.id == receiver.of_job(job.id)
            assert pathlane.get(event.job_id).reading.answer
        assert receiver.refused == 0
    finally:
        receiver.stop()
        up.run("endpoint", "pause", "client")
