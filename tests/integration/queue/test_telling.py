"""What is told over which channel, and what is told no more, on a real store."""

import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime

import hl7
import pytest

from integrations.channels import Channels
from integrations.telling import Telling
from tests.builders import a_question, a_reading, an_order
from worker.jobs.event import DeliveryStatus, EventType, Outcome
from worker.jobs.order import Channel, Merge, Subject, TriageClass, Verb
from worker.jobs.request import Priority
from worker.settings import read_settings
from worker.store.cases import Cases
from worker.store.endpoints import Endpoints
from worker.store.intake import Arrival, Intake
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.sealing import Seal

KEY = Seal.new_key()
SEAL = Seal([KEY])
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Receiver:
    """A lab's system that takes everything: MLLP on a real socket."""

    def __init__(self):
        self.messages = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    text = data.strip(b"\x0b\x1c\r").decode()
                    self.messages.append(hl7.parse(text))
                    control_id = str(self.messages[-1].segment("MSH")[10])
                    ack = f"MSH|^~\\&|LIS|LAB|PATHLANE||20261123||ACK|A1|P|2.5.1\rMSA|AA|{control_id}\r"
                    connection.sendall(b"\x0b" + ack.encode() + b"\x1c\r")

    def close(self):
        self._server.close()


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


class Lab:
    """A site with one receiver, and everything between an order and an attempt to tell."""

    def __init__(self, database, channels, port):
        self.jobs, self.outbox = Jobs(database), Outbox(database)
        events = [EventType.JOB_SUCCEEDED]
        Endpoints(database).add("lis", f"mllp://127.0.0.1:{port}", secret="-", event_types=events)
        self.question = a_question(tell=("lis",))
        self.intake = Intake(database, SEAL, lambda _: [self.question])
        self.events = []
        self.telling = Telling(
            jobs=self.jobs, cases=Cases(database, SEAL), channels=channels.by_scheme,
            webhook=self._webhook,
        )  # fmt: skip
        self._number = 0

    def _webhook(self, delivery, now, chance):
        self.events.append(delivery.id)
        return Outcome(status=DeliveryStatus.DELIVERED)

    def order(self, *orders):
        self._number += 1
        self.intake.take([Arrival(
            channel=Channel.HL7, application="A", facility="", control_id=str(self._number), raw=b"x", orders=orders
        )])  # fmt: skip

    def read(self, **fields):
        """Read the next job; its one delivery."""
        job = self.jobs.claim(worker_id="w", lease_seconds=30)
        (delivery_id,) = self.jobs.finish(job, a_reading(**fields))
        return delivery_id

    def tell(self, delivery_id):
        delivery = self.outbox.claim(delivery_id, lease_seconds=30)
        outcome = self.telling.attempt(delivery, now=NOW, chance=0.5)
        self.outbox.record(delivery, outcome)
        return outcome


@pytest.fixture
def lab(database, receiver, monkeypatch):
    monkeypatch.setenv("PATHLANE_LIS_HOSTS", "127.0.0.0/8")
    channels = Channels(read_settings(), Jobs(database))
    yield Lab(database, channels, receiver.port)
    channels.close()


def values(message):
    return {str(obx[3]).split("^")[0]: str(obx[5]) for obx in message.segments("OBX")}


def test_a_reading_is_told_with_its_order_and_its_triage(lab, receiver):
    lab.order(an_order())
    assert lab.tell(lab.read(answer="B. Immunohistochemistry with DAB")).status is DeliveryStatus.DELIVERED
    (message,) = receiver.messages
    assert str(message.segment("PID")[5]) == "MÜLLER^ZOË"
    assert str(message.segment("ORC")[38]) == "S26-0001"
    assert "Immunohistochemistry with DAB" in str(values(message))
    assert str(message.segment("TQ1")[9]).startswith("A")  # urgent: raised from routine


def test_a_resend_is_the_same_bytes_under_the_same_id(lab, receiver):
    lab.order(an_order())
    delivery = lab.read()
    lab.tell(delivery)
    lab.outbox.replay(delivery)
    lab.tell(delivery)
    first, second = receiver.messages
    assert str(first) == str(second)


def test_an_older_reading_is_not_told_after_a_newer_one_and_the_newer_names_it(lab, receiver):
    lab.order(an_order())
    old = lab.read()
    lab.order(an_order(series_uid="1.2.4"))
    new = lab.read()
    assert lab.tell(new).status is DeliveryStatus.DELIVERED
    assert lab.tell(old) == Outcome(status=DeliveryStatus.DROPPED, reason="superseded")
    (message,) = receiver.messages
    assert "replaces" in str(message)


@pytest.mark.parametrize(("verb", "reason"), [(Verb.WITHDRAWN, "stale"), (Verb.CLOSED, "closed")])
def test_what_was_taken_back_or_signed_out_is_told_no_more(lab, receiver, verb, reason):
    lab.order(an_order())
    delivery = lab.read()
    lab.order(an_order(verb))
    assert lab.tell(delivery).reason == reason
    assert receiver.messages == []


def test_a_result_goes_under_the_patients_new_number_after_a_merge(lab, receiver):
    lab.order(an_order())
    delivery = lab.read()
    merge = Merge(
        subject=Subject.PATIENT, prior="123", prior_authority="HIS", survivor="9", survivor_authority="HIS"
    )
    lab.order(an_order(Verb.MERGED, patient=None, merge=merge))
    lab.tell(delivery)
    assert str(receiver.messages[0].segment("PID")[3]).startswith("9^")


def test_a_job_without_an_order_is_not_told_to_a_hospitals_system(lab, receiver, database):
    from tests.builders import a_request

    lab.jobs.submit(a_request(endpoints=["lis"]), submitter="lab")
    assert lab.tell(lab.read()).reason == "no_order"
    lab.jobs.submit(a_request(), submitter="lab")
    job = lab.jobs.claim(worker_id="w", lease_seconds=30)
    assert lab.jobs.finish(job, a_reading()) == []  # and without being named it is not told at all


def test_a_stat_order_stays_stat_whatever_the_answer(lab, receiver):
    lab.question = a_question(tell=("lis",), triage={"h&e": TriageClass.NOTHING.value})
    lab.order(an_order(priority=Priority.STAT))
    lab.tell(lab.read(answer="H&E", choice=None))
    assert str(receiver.messages[0].segment("TQ1")[9]).startswith("S")


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from integrations.channels import Channels
from integrations.telling import Telling
from worker.settings import read_settings
from worker.store.cases import Cases
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.sealing import Seal
from worker.store.session import Database

url, key, delivery_id, point = sys.argv[1:5]
database = Database(url)
jobs, outbox = Jobs(database), Outbox(database)
telling = Telling(jobs=jobs, cases=Cases(database, Seal([key])), channels=Channels(read_settings(), jobs).by_scheme,
                  webhook=None)
delivery = outbox.claim(delivery_id, lease_seconds=1)
if point == "between result and send":
    os.kill(os.getpid(), signal.SIGKILL)
telling.attempt(delivery, now=datetime.now(UTC), chance=0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("point", ["between result and send", "between send and record"])
def test_killed_there_the_result_is_told_and_told_as_the_same(lab, receiver, database_url, point):
    lab.order(an_order())
    delivery = lab.read()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, database_url, KEY, delivery, point], timeout=60, capture_output=True
    )
    assert killed.returncode == -9, killed.stderr
    before = len(receiver.messages)
    assert before == (1 if point == "between send and record" else 0)
    threading.Event().wait(1.2)  # the lease of the attempt that died
    assert lab.tell(delivery).status is DeliveryStatus.DELIVERED
    assert len(receiver.messages) == before + 1
    assert len({str(message) for message in receiver.messages}) == 1  # a receiver knows it by its control id
