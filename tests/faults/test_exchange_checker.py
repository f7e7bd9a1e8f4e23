"""The checker can fail for laboratories too: every promise broken on purpose, and each breach is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from integrations import channels
from integrations.hl7.results import control_id_of, result_message
from integrations.reception import Reception
from integrations.rules.reading import read_rules
from integrations.telling import Telling
from tests.builders import a_reading, an_order
from tests.faults import exchange
from tests.faults.exchange import Exchange
from tests.faults.invariants import check, snapshot
from tests.faults.laboratory import RULES
from tests.faults.order_sender import TWICE, Orders
from worker.errors import ImageMissing, StoreUnavailable
from worker.jobs.event import DeliveryStatus, Outcome
from worker.store import desk
from worker.store.cases import Cases
from worker.store.endpoints import Endpoints
from worker.store.instances import Instance, Instances
from worker.store.intake import Intake, Receipt, Taken
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.sealing import Seal

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
SEAL = Seal([Seal.new_key()])


class Lab:
    """A laboratory whose orders are taken, read and answered in this process."""

    intake_kind = Intake

    def __init__(self, database, url):
        self.database, self.url = database, url
        self.jobs, self.outbox = Jobs(database), Outbox(database)
        self.orders, self.sent, self.received = Orders(series=("1.2.3",)), [], []
        self.rules = read_rules(RULES, "rules.yaml")
        Endpoints(database).add("laboratory", "mllp://127.0.0.1:1", secret="x")
        Instances(database, SEAL).add(Instance(
            sop_instance_uid="1.9", sop_class="1", is_slide=False, is_eligible=True, pixels=1,
            reference="upload:sha256-" + "0" * 64, order=an_order(images=(), series_uid="1.2.3"),
        ))  # fmt: skip

    def announce(self, count=3):
        """Sends the next messages; who is not said AA to does not count as acknowledged."""
        for _ in range(count):
            self.send(*self.orders.next())

    def send(self, sent, message):
        intake = self.intake_kind(self.database, SEAL, lambda order: self.rules.plan(order).questions)
        reception = Reception(
            rules=self.rules, intake=intake, now=lambda: NOW, new_id=lambda: "A", ring=lambda _: None,
            deliver=lambda _: None,
        )  # fmt: skip
        (answer,) = reception.answer([message])
        self.sent.append(replace(sent, acknowledged=b"MSA|AA" in answer))

    def read(self):
        while job := self.jobs.claim(worker_id="w", lease_seconds=30):
            self.jobs.finish(job, a_reading())

    def tell(self, channel=None):
        telling = Telling(
            jobs=self.jobs, cases=Cases(self.database, SEAL), webhook=None,
            channels={"mllp": channel or self.over_the_line},
        )  # fmt: skip
        for delivery_id in self.outbox.due():
            delivery = self.outbox.claim(delivery_id, lease_seconds=30)
            self.outbox.record(delivery, telling.attempt(delivery, now=datetime.now(UTC), chance=0))

    def over_the_line(self, delivery, result, reading, now, chance):
        self.received.append(self.message(delivery, result, reading, channels._made_at(delivery)))
        return Outcome(status=DeliveryStatus.DELIVERED)

    def message(self, delivery, result, reading, at):
        return result_message(
            result, reading, control_id=control_id_of(delivery.id), at=at, kind="ORU^R01",
            sending=("PATHLANE", ""), receiving=("LIS", "LAB"), test=False,
        )  # fmt: skip

    def answer(self, count=3):
        self.announce(count)
        self.read()
        self.tell()

    def verdict(self):
        return check(self.url, (), exchange=Exchange(sent=self.sent, received=self.received))


@pytest.fixture
def lab(database, database_url):
    return Lab(database, database_url)


def test_a_laboratory_where_all_is_well_passes(lab):
    lab.answer(TWICE + 1)
    assert lab.verdict().holds
    assert [one.order for one in lab.sent[-2:]] == [lab.sent[-1].order] * 2
    assert len(lab.received) == TWICE


def test_a_result_that_comes_again_as_it_was_passes(lab):
    lab.answer()
    lab.received.append(lab.received[0])
    assert lab.verdict().holds


def test_a_result_that_never_came_is_a_loss(lab):
    lab.answer()
    lab.received.pop(1)
    assert lab.verdict().lost == {exchange.name(lab.sent[1].order)}
    assert lab.verdict().problems == ("S26-00002/S26-00002-A1 was read and the laboratory has no result",)


def test_an_order_that_could_not_be_read_has_no_result_to_miss(lab):
    lab.announce(1)
    lab.jobs.fail(lab.jobs.claim(worker_id="w", lease_seconds=30), ImageMissing())
    lab.tell()
    assert lab.verdict().holds
    assert lab.received == []


def test_a_result_that_comes_again_with_other_words_is_a_double(lab):
    lab.answer()
    lab.received.append(lab.received[0].replace(b"Brown", b"Green"))
    assert lab.verdict().doubled == {exchange.name(lab.sent[0].order)}


def test_a_result_of_an_unknown_order_is_found(lab):
    lab.answer()
    lab.received.append(lab.received[0].replace(b"S26-00001", b"S26-99999"))
    assert "never accepted" in lab.verdict().problems[0]


def test_a_result_of_an_order_that_nobody_was_said_AA_for_is_found(lab):
    lab.answer()
    lab.sent[0] = replace(lab.sent[0], acknowledged=False)
    problems = lab.verdict().problems
    assert any("told for an order that was never accepted" in problem for problem in problems)
    assert any("nobody was told that it was accepted" in problem for problem in problems)


def test_a_result_under_the_name_of_another_patient_is_found(lab):
    lab.answer()
    lab.received[0] = lab.received[0].replace(b"P000000001", b"P000000002")
    assert lab.verdict().problems == ("S26-00001/S26-00001-A1 was told for another patient",)


def test_a_result_under_the_id_of_another_delivery_is_found(lab):
    lab.answer()
    first, second = (exchange.result_of(raw).control_id.encode() for raw in lab.received[:2])
    lab.received[0] = lab.received[0].replace(first, second)
    assert lab.verdict().problems == (
        "S26-00001/S26-00001-A1 was told under the id of no delivery of its own",
    )


def test_what_cannot_be_read_is_found(lab):
    lab.answer()
    lab.received.append(b"MSH|^~\\&|")
    assert "cannot be read" in lab.verdict().problems[0]


def test_an_order_that_is_still_read_is_lost(lab):
    lab.announce(1)
    (job_id,) = exchange.jobs_of(snapshot(lab.url), Exchange(sent=lab.sent))
    assert lab.verdict().lost == {job_id}


# Planted faults: the product's own code with one safeguard taken out.


class Hasty(Intake):
    """Says that it has taken a message, and would write it down later."""

    def take(self, batch):
        return [Receipt(taken=Taken.NEW) for _ in batch]


def test_an_AA_before_the_commit_is_caught(lab):
    lab.answer(2)
    lab.intake_kind = Hasty
    lab.announce(1)
    verdict = lab.verdict()
    assert verdict.lost == {"ORD3", "S26-00003/S26-00003-A1"}
    assert "S26-00003/S26-00003-A1 was acknowledged and has no job" in verdict.problems


class Forgetful(Intake):
    """Commits, and its AA is lost."""

    def take(self, batch):
        super().take(batch)
        raise StoreUnavailable


def test_an_AA_that_was_lost_is_harmless_when_the_message_comes_again(lab):
    sent, message = lab.orders.next()
    lab.intake_kind = Forgetful
    lab.send(sent, message)
    lab.intake_kind = Intake
    lab.send(sent, message)
    lab.read()
    lab.tell()
    assert lab.verdict().holds
    assert [one.acknowledged for one in lab.sent] == [False, True]


def test_a_second_job_for_an_order_that_was_announced_twice_is_caught(lab, monkeypatch):
    keys = iter(range(100))
    monkeypatch.setattr(desk, "_business_key", lambda *_: f"key {next(keys)}")
    lab.answer(TWICE + 1)
    verdict = lab.verdict()
    assert verdict.doubled == {exchange.name(lab.sent[-1].order)}
    assert "has 2 jobs" in verdict.problems[0]


def test_a_message_that_is_made_anew_at_every_attempt_is_caught(lab):
    """MSH-7 would be the time of the attempt; the receiver took the first one, and its AA was lost."""
    times = iter(NOW + timedelta(seconds=n) for n in range(100))

    def twice(delivery, result, reading, now, chance):
        lab.received += [lab.message(delivery, result, reading, next(times)) for _ in range(2)]
        return Outcome(status=DeliveryStatus.DELIVERED)

    lab.announce(1)
    lab.read()
    lab.tell(twice)
    assert lab.verdict().doubled == {exchange.name(lab.sent[0].order)}
    assert "2 results that differ" in lab.verdict().problems[0]


def test_a_delivery_that_is_written_down_before_it_is_sent_is_caught(lab):
    lab.announce(1)
    lab.read()
    lab.tell(lambda *_: Outcome(status=DeliveryStatus.DELIVERED))
    assert lab.verdict().lost == {exchange.name(lab.sent[0].order)}


def test_a_result_in_the_light_of_another_order_is_caught(lab):
    """What a courier sends that keeps the order of the delivery before."""
    kept = SimpleNamespace(result=None)

    def mixed_up(delivery, result, reading, now, chance):
        kept.result = kept.result or result
        return lab.over_the_line(delivery, kept.result, reading, now, chance)

    lab.announce(2)
    lab.read()
    lab.tell(mixed_up)
    verdict = lab.verdict()
    assert verdict.lost == {"S26-00002/S26-00002-A1"}
    assert verdict.doubled == {"S26-00001/S26-00001-A1"}
