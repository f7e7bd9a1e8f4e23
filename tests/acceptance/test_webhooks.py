"""The signed answer: verified by another library, and the same webhook-id for a receiver that was down."""

import json
import socket

import pytest

from integrations.demo.receiver import Receiver


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.stop()


def add(up, name, url):
    return json.loads(up.run("endpoint", "add", name, url, "--json"))["secret"]


def test_the_event_arrives_signed_and_leads_to_the_reading(up, ihc, tmp_path, receiver):
    receiver.start(add(up, "lis", receiver.url))
    ihc.save(tmp_path / "a.png")
    job = up.submit(tmp_path / "a.png", "--endpoint", "lis", "--correlation-id", "c-9", "--wait")
    up.until(lambda: receiver.of_job(job["id"]))
    data = receiver.arrived[receiver.of_job(job["id"])]
    assert (data["status"], data["outcome"], data["correlation_id"]) == ("succeeded", "answered", "c-9")
    assert data["result_url"] == f"{up.url}/v1/jobs/{job['id']}"
    assert receiver.refused == 0
    up.until(lambda: up.show(job["id"])["deliveries"][0]["status"] == "delivered")


def test_a_receiver_that_was_down_gets_the_same_webhook_id_later(up, ihc, tmp_path, receiver):
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        add(up, "down", f"http://127.0.0.1:{closed.getsockname()[1]}/hook")
        ihc.save(tmp_path / "a.png")
        job = up.submit(tmp_path / "a.png", "--endpoint", "down", "--wait")
        up.until(lambda: up.show(job["id"])["deliveries"][0]["attempt"] >= 1)
        first = up.show(job["id"])["deliveries"][0]
        assert (first["status"], first["reason"]) == ("pending", "refused")
        port = closed.getsockname()[1]
    late = Receiver(port)
    secret = json.loads(up.run("endpoint", "rotate", "down", "--json"))["secret"]
    late.start(secret)
    up.run("replay", first["id"])
    up.until(lambda: late.of_job(job["id"]))
    assert late.of_job(job["id"]) == first["id"]
    late.stop()


def test_an_address_that_is_not_allowed_is_never_called(up, ihc, tmp_path):
    add(up, "metadata", "http://169.254.169.254/hook")
    ihc.save(tmp_path / "a.png")
    job = up.submit(tmp_path / "a.png", "--endpoint", "metadata", "--wait")
    up.until(lambda: up.show(job["id"])["deliveries"][0]["attempt"] >= 1)
    assert up.show(job["id"])["deliveries"][0]["reason"] == "address_refused"
