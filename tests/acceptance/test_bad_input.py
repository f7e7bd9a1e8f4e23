"""Bad input ends in a typed error, is not retried, says nothing of the case, and takes nothing else down."""

import pytest
from PIL import Image

from tests.acceptance.conftest import QUESTION

CANARY = "CanaryPatient"


@pytest.fixture
def file(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not an image at all", "unsupported_image"),
        (b"", "image_unreadable"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "image_unreadable"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, "image_unreadable"),
    ],
    ids=["text", "empty", "broken-png", "broken-jpeg"],
)  # fmt: skip
def test_an_unreadable_image_fails_its_job_at_once(up, file, data, code):
    out = up.run("submit", str(file(f"{CANARY}.png", data)), *QUESTION, "--wait", "--json", status=1)
    import json

    job = json.loads(out)
    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert job["error"]["code"] == code
    assert CANARY not in job["error"]["text"] + up.log()


def test_a_bomb_is_refused_before_it_is_decoded(up, tmp_path):
    import json

    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    job = json.loads(up.run("submit", str(bomb), *QUESTION, "--wait", "--json", status=1))
    assert job["error"]["code"] == "image_too_large"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--option", "only one"], "options"),
        ([part for n in range(27) for part in ("--option", f"o{n}")], "options"),
        (["--due-at", "2001-01-01T00:00:00Z"], "due_at"),
        (["--endpoint", "nobody"], "endpoint"),
        (["--timeout", "0"], "timeout"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_a_sentence(up, file, arguments, word):
    import subprocess

    from tests.acceptance.conftest import PATHLANE

    image = file("a.png", b"x")
    ended = subprocess.run(
        [*PATHLANE, "submit", str(image), *QUESTION, *arguments, "--data", str(up.data)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("file:///etc/hostname", "reference_forbidden"),
        ("https://169.254.169.254/latest/meta-data", "reference_forbidden"),
        ("upload:sha256-" + "0" * 64, "image_missing"),
        ("upload:../../etc/passwd", "reference_forbidden"),
    ],
)  # fmt: skip
def test_a_reference_outside_what_is_allowed_is_refused(up, reference, code):
    import json

    job = json.loads(up.run("submit", reference, *QUESTION, "--wait", "--json", status=1))
    assert job["error"]["code"] == code


def test_after_all_that_the_worker_is_the_same_and_nothing_was_said(up, ihc, tmp_path):
    before = up.pids()
    file = tmp_path / f"{CANARY}.png"
    ihc.save(file)
    job = up.submit(file, "--wait", "--correlation-id", "c-1")
    assert job["reading"]["choice"] == "B"
    assert up.pids() == before
    assert "Traceback" not in up.log()
    assert "Which stain" not in up.log()
    assert CANARY not in up.log()
