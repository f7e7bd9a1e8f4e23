"""`pathlane up`: what dies comes back, what was queued ends once, and Ctrl-C leaves nothing."""

import os
import signal
import time

import psutil

from tests.builders import STAINS


def ended(up, ids):
    """The jobs, once all of them have ended."""
    jobs = []
    for job_id in ids:
        jobs.append(up.show(job_id))
        if jobs[-1]["status"] not in {"succeeded", "failed", "cancelled"}:
            return None
    return jobs


def finished(client, ids):
    """How many have their reading."""
    return sum(client.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded" for job_id in ids)


def test_twelve_jobs_and_three_kills_end_once_each_and_nothing_is_left(own_up, ihc, tmp_path):
    up = own_up(LEASE_SECONDS="3", SWEEP_SECONDS="1", SLOTS="2")
    file = tmp_path / "a.png"
    ihc.save(file)
    # Over HTTP, so that all of them are queued before the first worker dies.
    with up.http as client:
        reference = client.post("/v1/uploads", content=file.read_bytes()).json()["reference"]
        body = {"images": [{"reference": reference}], "question": "Which stain is shown?", "options": STAINS}
        bodies = [body | {"priority": ("stat", "urgent", "routine")[n % 3]} for n in range(12)]
        ids = [client.post("/v1/jobs", json=body).json()["id"] for body in bodies]
        known = -1
        for _ in range(3):
            # Whoever was held comes first, and alone: once another has ended, nobody is held at all three deaths,
            # which would be its end.
            up.until(lambda known=known: len(up.pids()) == 1 and finished(client, ids) > known)
            (pid,) = up.pids()
            os.kill(pid, signal.SIGKILL)
            up.until(lambda dead=pid: dead not in up.pids())
            known = min(len(ids) - 1, finished(client, ids))  # all of them may have ended by now
    up.until(lambda: ended(up, ids), seconds=400)
    jobs = ended(up, ids)
    assert [job["status"] for job in jobs] == ["succeeded"] * 12
    assert {job["reading"]["answer"] for job in jobs} == {"B. Immunohistochemistry with DAB"}
    up.until(lambda: len(up.own_children()) == 4)  # broker, web, courier, and a worker again
    up.until(lambda: [worker["pid"] for worker in up.status()["workers"]] == up.pids())
    children = up.children()
    assert up.stop(signal.SIGINT) == 0
    assert [
        child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    ] == []


def test_a_parent_that_is_killed_takes_its_children_along(own_up):
    up = own_up()
    children = up.children()
    os.kill(up._process.pid, signal.SIGKILL)
    up._process.wait(10)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_a_second_up_in_the_same_folder_says_so_and_harms_nothing(up):
    assert "Another `pathlane up`" in up.run_up_again()
    assert up.pids()


def test_what_was_stored_is_there_after_a_restart(own_up, ihc, tmp_path):
    up = own_up()
    ihc.save(tmp_path / "a.png")
    job = up.submit(tmp_path / "a.png", "--wait")
    key = up.key
    assert up.stop(signal.SIGTERM) == 0
    waiting = up.submit(tmp_path / "a.png")  # nobody is up: it is stored, and says so
    assert waiting["status"] == "queued"
    time.sleep(0.2)
    up.start()
    assert up.key == key
    assert up.show(job["id"]) == job
    up.until(lambda: up.show(waiting["id"])["status"] == "succeeded")


def test_a_model_without_its_licence_stops_everything_with_a_sentence(own_up, tmp_path):
    import subprocess

    from tests.acceptance.conftest import PATHLANE

    environment = os.environ | {"PATHLANE_MODEL": "WenchuanZhang/Patho-R1-3B", "HF_HUB_OFFLINE": "1"}
    for command in (
        ["up", "--data", str(tmp_path / "d"), "--port", "0"],
        ["doctor", "--data", str(tmp_path / "d")],
    ):
        ended = subprocess.run(
            [*PATHLANE, *command], env=environment, capture_output=True, text=True, timeout=150
        )
        assert ended.returncode in {1, 78}
        assert "PATHLANE_MODEL_LICENSE" in ended.stderr + ended.stdout
        assert "Traceback" not in ended.stderr
