"""Messages in, acknowledgements out, on a real store: AA is said of what is durable, and of nothing else."""

import subprocess
import sys
from datetime import UTC, datetime

import hl7
import pytest
import structlog
from sqlalchemy import text
from structlog.testing import capture_logs

from integrations.reception import Reception
from integrations.rules.reading import read_rules
from tests.builders import a_reading
from tests.messages import ROUTINE, STAT, lab_104
from tests.scrapes import of_this_process
from worker import log, traces
from worker.errors import StoreUnavailable
from worker.jobs.job import Status
from worker.jobs.request import Priority
from worker.jobs.trace import trace_of
from worker.store.intake import Intake
from worker.store.jobs import Jobs
from worker.store.sealing import Seal

SEAL = Seal([Seal.new_key()])
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULES = """
version: 1
protocols:
  stain:
    version: 1
    questions: [{name: stain, question: "Which stain is shown?", options: [HE, DAB]}]
rules:
  - {name: all, ask: stain}
"""


def message(control_id="M1", *, stat=False, slide="S1", **fields):
    priority = STAT if stat else ROUTINE
    return lab_104(control_id, priority=priority, slide=slide, series=f"1.2.{slide[1:]}", **fields).encode()


def codes(replies):
    return [str(hl7.parse(reply.decode()).segment("MSA")[1]) for reply in replies]


class Ward:
    """A reception on a store, and what it rang for."""

    def __init__(self, database, intake=None):
        self.rung = []
        self.told = []
        self.jobs = Jobs(database)
        rules = read_rules(RULES, "rules.yaml")
        self.reception = Reception(
            rules=rules, intake=intake or Intake(database, SEAL, lambda order: rules.plan(order).questions),
            now=lambda: NOON, new_id=lambda: "ACK1", ring=self.rung.append, deliver=self.told.extend,
        )  # fmt: skip

    def send(self, *messages):
        return codes(self.reception.answer(messages))


@pytest.fixture
def ward(database):
    return Ward(database)


@pytest.fixture
def pictures(database):
    """Every series has one picture."""
    from tests.builders import an_order
    from worker.store.instances import Instance, Instances

    for number in range(1, 30):
        order = an_order(images=(), series_uid=f"1.2.{number}")
        Instances(database, SEAL).add(Instance(
            sop_instance_uid=f"1.9.{number}", sop_class="1", reference="upload:sha256-" + "0" * 64, is_slide=False,
            is_eligible=True, pixels=1, order=order,
        ))  # fmt: skip


@pytest.fixture
def lines():
    with capture_logs([structlog.contextvars.merge_contextvars, log.only_listed_fields]) as captured:
        yield captured


@pytest.mark.usefixtures("pictures")
def test_each_job_of_a_message_is_counted_logged_and_told_under_its_id(ward, database, lines):
    before, spans = of_this_process(), []
    traces.install(spans.append)
    try:
        assert ward.send(message("M1", slide="S1"), message("M2", slide="S2"), b"no message") == [
            "AA",
            "AA",
            "AR",
        ]
        assert ward.send(message("M1", slide="S1")) == ["AA"]
    finally:
        traces.install()
    with database.read() as connection:
        ids = set(connection.execute(text("SELECT id FROM jobs")).scalars())
    submitted = [line for line in lines if line["event"] == "job.submitted"]
    assert len(ids) == len(submitted) == 2, "a message that came again makes no job"
    assert {line["job_id"] for line in submitted} == ids
    assert {(line["channel"], line["trace_id"]) for line in submitted} == {
        ("hl7", trace_of(i).name) for i in ids
    }
    assert {span.job_id for span in spans} == ids
    assert {(span.name, span.told["channel"]) for span in spans} == {("submit", "hl7")}
    after = of_this_process()
    assert after.since(before, "pathlane_jobs_submitted_total", channel="hl7") == 2
    refused = {"channel": "hl7", "code": "message_unreadable"}
    assert after.since(before, "pathlane_submissions_refused_total", **refused) == 1


def count(database, table):
    with database.read() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


@pytest.mark.usefixtures("pictures")
def test_while_too_many_jobs_wait_orders_are_told_to_come_again(database):
    rules = read_rules(RULES, "rules.yaml")
    intake = Intake(database, SEAL, lambda order: rules.plan(order).questions, queue_limit=1)
    ward = Ward(database, intake=intake)
    assert ward.send(message("M1", slide="S1")) == ["AA"]
    assert ward.send(message("M2", slide="S2", stat=True)) == ["AE"]
    assert ward.send(message("M1", slide="S1")) == ["AA"]
    assert sum(ward.jobs.depth().values()) == 1
    ward = Ward(database)
    assert ward.send(message("M2", slide="S2", stat=True)) == ["AA"]
    assert ward.jobs.depth()["stat"] == 1


@pytest.mark.usefixtures("pictures")
def test_an_image_is_acknowledged_by_orl_o22_and_asked_about(ward, database):
    (reply,) = ward.reception.answer([message()])
    answer = hl7.parse(reply.decode())
    assert str(answer.segment("MSH")[9]) == "ORL^O22^ORL_O22"
    assert [str(answer.segment("MSA")[n]) for n in (1, 2)] == ["AA", "M1"]
    assert ward.rung == [1]
    assert count(database, "jobs") == 1


@pytest.mark.usefixtures("pictures")
def test_a_message_sent_again_is_aa_and_makes_no_second_job(ward, database):
    assert ward.send(message(), message()) == ["AA", "AA"]
    assert ward.send(message(), message("M2")) == ["AA", "AA"]
    assert count(database, "jobs") == 1


@pytest.mark.usefixtures("pictures")
def test_another_message_under_the_same_id_is_ae(ward, database):
    assert ward.send(message(), message(stat=True)) == ["AA", "AE"]


@pytest.mark.usefixtures("pictures")
def test_an_image_that_is_gone_cancels_its_job(ward, database):
    ward.send(message())
    assert ward.jobs.depth()["routine"] == 1
    assert ward.send(message("M2", available="N")) == ["AA"]
    assert ward.jobs.depth()["routine"] == 0


@pytest.mark.usefixtures("pictures")
def test_stat_is_claimed_first(ward):
    ward.send(*(message(f"M{n}", slide=f"S{n}", stat=n == 3) for n in range(1, 5)))
    assert ward.jobs.claim(worker_id="w", lease_seconds=30).priority is Priority.STAT


@pytest.mark.usefixtures("pictures")
def test_a_bad_message_among_good_ones_is_refused_alone(ward, database):
    assert ward.send(message(), message("M2", kind="ZZZ^Z99"), b"nonsense", message("M3", slide="S2")) == [
        "AA", "AR", "AR", "AA",
    ]  # fmt: skip
    assert count(database, "jobs") == 2


class Unavailable:
    def take(self, batch):
        raise StoreUnavailable


def test_without_a_database_everything_is_ae_and_nothing_is_rung_for(database):
    ward = Ward(database, intake=Unavailable())
    assert ward.send(message(), message("M2")) == ["AE", "AE"]
    assert ward.rung == []


@pytest.mark.usefixtures("pictures")
def test_an_error_never_quotes_the_message(ward, capfd):
    (reply,) = ward.reception.answer([message(kind="ZZZ^Z99").replace(b"MSH|", b"MSH|", 1)])
    assert "MÜLLER".encode() not in reply
    assert "MÜLLER" not in capfd.readouterr().err


@pytest.mark.usefixtures("pictures")
def test_readings_of_a_cancelled_case_are_told_to_nobody_more(ward):
    ward.send(message())
    job = ward.jobs.claim(worker_id="w", lease_seconds=30)
    ward.send(message("M2", available="N"))
    assert ward.jobs.get(job.id).cancel_requested
    ward.jobs.finish(job, a_reading())
    assert ward.jobs.get(job.id).status is Status.SUCCEEDED


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from integrations.reception import Reception
from integrations.rules.reading import read_rules
from worker import log
from worker.store.intake import Intake
from worker.store.sealing import Seal
from worker.store.session import Database

log.configure("test")
url, key, rules_text, point, raw = sys.argv[1:6]
rules = read_rules(rules_text, "rules.yaml")
real = Intake(Database(url), Seal([key]), lambda order: rules.plan(order).questions)

class AtPoint:
    def take(self, batch):
        receipts = real.take(batch)
        if point == "between commit and AA":
            os.kill(os.getpid(), signal.SIGKILL)
        return receipts

def ring(times):
    if point == "between AA and ring":
        os.kill(os.getpid(), signal.SIGKILL)

reception = Reception(rules=rules, intake=AtPoint(), now=lambda: datetime.now(UTC), new_id=lambda: "A",
                      ring=lambda times: None, deliver=lambda ids: None)
replies = reception.answer([bytes.fromhex(raw)])
sys.stdout.buffer.write(replies[0]); sys.stdout.buffer.flush()
ring(1)
"""


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("point", ["between commit and AA", "between AA and ring"])
def test_killed_there_nothing_is_lost_and_nothing_doubled(database, database_url, point):
    key = Seal.new_key()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, database_url, key, RULES, point, message().hex()],
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert killed.returncode == -9
    assert (codes([killed.stdout]) if killed.stdout else []) == (["AA"] if "ring" in point else [])
    assert count(database, "jobs") == 1  # and the sweep finds it, rung for or not
    assert Jobs(database).sweep(patience_seconds=3600).waiting == 1
    rules = read_rules(RULES, "rules.yaml")
    again = Ward(database, intake=Intake(database, Seal([key]), lambda order: rules.plan(order).questions))
    assert again.send(message()) == ["AA"]  # the sender, which may have seen no AA, sends again
    assert count(database, "jobs") == 1
