"""The checker can fail: every promise broken on purpose, and each breach is named."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import update

from tests.builders import a_reading, a_request
from tests.faults.invariants import Holder, check, judge, snapshot
from tests.integration.webhooks.receiver import Received
from worker.jobs.event import DeliveryStatus, Outcome
from worker.jobs.job import Status
from worker.store import jobs as jobs_module
from worker.store import outbox
from worker.store.due import deliveries
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs, readings
from worker.store.outbox import Outbox
from worker.store.readings import add_reading, reading_row

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Lab:
    """A store with one endpoint, where jobs are read and told in this process."""

    def __init__(self, database, url):
        self.database, self.url = database, url
        self.jobs, self.accepted, self.received = Jobs(database), [], []
        Endpoints(database).add("lis", "http://127.0.0.1:1/in", secret=SECRET)

    def submit(self):
        self.accepted.append(self.jobs.submit(a_request(), submitter="lab").job.id)
        return self.accepted[-1]

    def claim(self, lease=30):
        return self.jobs.claim(worker_id="w", lease_seconds=lease)

    def tell(self):
        """The courier's part: signed by the reference package's own signature."""
        from datetime import UTC, datetime

        import standardwebhooks

        for delivery_id in Outbox(self.database).due():
            delivery = Outbox(self.database).claim(delivery_id, lease_seconds=30)
            now = datetime.now(UTC)
            signature = standardwebhooks.Webhook(SECRET).sign(delivery.id, now, delivery.body.decode())
            headers = {
                "webhook-id": delivery.id, "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": signature,
            }  # fmt: skip
            self.received.append(Received(path="/in", headers=headers, body=delivery.body))
            Outbox(self.database).record(delivery, Outcome(status=DeliveryStatus.DELIVERED))

    def read(self, count=3):
        for _ in range(count):
            self.submit()
            self.jobs.finish(self.claim(), a_reading())
        self.tell()

    def verdict(self, **more):
        return check(self.url, self.accepted, self.received, **more)


@pytest.fixture
def lab(database, database_url):
    return Lab(database, database_url)


def test_a_store_where_all_is_well_passes(lab):
    lab.read()
    assert lab.verdict().holds
    assert len(lab.received) == 3


def test_a_job_that_never_ends_is_lost(lab):
    lab.read()
    waiting = lab.submit()
    assert lab.verdict().lost == {waiting}


def test_an_accepted_job_that_is_not_in_the_store_is_lost(lab):
    lab.accepted.append("job_nowhere")
    assert lab.verdict().lost == {"job_nowhere"}


def test_a_job_nobody_asked_for_is_a_double(lab):
    lab.read()
    second = lab.accepted.pop()
    assert lab.verdict().doubled == {second}


def test_a_success_without_its_reading_is_found(lab):
    lab.read(1)
    with lab.database.write() as connection:
        connection.execute(readings.delete())
    assert lab.verdict().doubled == set(lab.accepted)


def test_a_second_reading_is_found(lab):
    """The schema forbids it; the checker does not rely on that."""
    lab.read(1)
    seen = snapshot(lab.url)
    twice = replace(seen, readings=(*seen.readings, *seen.readings))
    assert judge(twice, lab.accepted, lab.received).doubled == set(lab.accepted)


def test_a_second_delivery_row_is_found(lab):
    lab.read(1)
    seen = snapshot(lab.url)
    again = dict(seen.deliveries[0], id="msg_again")
    twice = replace(seen, deliveries=(*seen.deliveries, again))
    assert judge(twice, lab.accepted, lab.received).doubled == set(lab.accepted)


def test_a_delivery_that_never_arrived_is_found(lab):
    lab.read()
    lab.received.pop()
    assert "was never received" in lab.verdict().problems[0]


def test_an_event_under_an_unknown_id_is_found(lab):
    lab.read()
    changed = replace(lab.received[0], headers=lab.received[0].headers | {"webhook-id": "msg_other"})
    lab.received.append(changed)
    assert lab.verdict().problems == ("msg_other was received and is no delivery",)


def test_a_body_changed_on_the_way_is_found(lab):
    lab.read()
    lab.received[1] = replace(lab.received[1], body=lab.received[1].body + b" ")
    assert "signature" in lab.verdict().problems[0]


def test_a_wrong_event_is_found(lab):
    lab.read(1)
    with lab.database.write() as connection:
        connection.execute(update(deliveries).values(event_type="job.failed"))
    assert "told as job.failed" in lab.verdict().problems[0]


def test_one_more_in_the_model_than_the_cap_is_found(lab):
    together = [Holder(at=1.0, change=2), Holder(at=2.0, change=1), Holder(at=3.0, change=-3)]
    assert lab.verdict(holders=together, cap=3).holds
    assert "3 cases" in lab.verdict(holders=together, cap=2).problems[0]


# Planted faults: the product's own code with one safeguard taken out.


class OutboxApart(Jobs):
    """The deliveries are written after the transaction that ends the job, and the process may die between."""

    dies = True

    def finish(self, job, reading):
        with self._database.write() as connection:
            ended = jobs_module._end(connection, job, Status.SUCCEEDED)
            connection.execute(add_reading, reading_row(ended, reading))
        if self.dies:
            raise SystemExit
        with self._database.write() as connection:
            return outbox.tell(connection, ended, reading, public_url="")


def test_an_outbox_outside_the_transaction_is_caught(lab):
    lab.read()
    lab.jobs = OutboxApart(lab.database)
    job_id = lab.submit()
    with pytest.raises(SystemExit):
        lab.jobs.finish(lab.claim(), a_reading())
    verdict = lab.verdict()
    assert not verdict.holds
    assert any(f"{job_id} ended and is not told" in problem for problem in verdict.problems)


def test_the_same_death_inside_the_transaction_is_harmless(lab, monkeypatch):
    def dies(*_, **__):
        raise SystemExit

    job_id = lab.submit()
    job = lab.claim()
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "tell", dies)
        with pytest.raises(SystemExit):
            lab.jobs.finish(job, a_reading())
    assert lab.jobs.get(job_id).status is Status.RUNNING
    lab.jobs.finish(job, a_reading())
    lab.tell()
    assert lab.verdict().holds


class Unfenced(Jobs):
    """Whoever comes last ends the job, whether it is still his or not."""

    def finish(self, job, reading):
        now = self.get(job.id)
        with self._database.write() as connection:
            connection.execute(
                update(jobs_module.jobs)
                .where(jobs_module.jobs.c.id == job.id)
                .values(status=Status.SUCCEEDED)
            )
            connection.execute(readings.delete().where(readings.c.job_id == job.id))
            connection.execute(add_reading, reading_row(job, reading))
            ended = replace(now, status=Status.SUCCEEDED)
            return outbox.tell(connection, ended, reading, public_url="")


def give_up(lab, job_id):
    """Its lease runs out and a sweep takes it back, until it may be claimed again or has failed."""
    threading.Event().wait(0.05)
    lab.jobs.sweep(patience_seconds=3600)
    return lab.jobs.get(job_id).status


def test_a_finish_without_the_fence_is_caught_while_another_reads(lab):
    job_id = lab.submit()
    late = lab.claim(lease=0.01)
    assert give_up(lab, job_id) is Status.QUEUED
    lab.claim()
    lab.jobs = Unfenced(lab.database)
    lab.jobs.finish(late, a_reading())
    lab.tell()
    assert lab.verdict().doubled == {job_id}


def test_a_finish_without_the_fence_is_caught_after_another_end(lab):
    """Failed as poison and told so; then the last worker wakes up, and it is told as a success too."""
    job_id = lab.submit()
    for _ in range(3):
        late = lab.claim(lease=0.01)
        end = give_up(lab, job_id)
    assert end is Status.FAILED
    lab.tell()
    lab.jobs = Unfenced(lab.database)
    lab.jobs.finish(late, a_reading())
    lab.tell()
    assert lab.verdict().doubled == {job_id}


def test_the_real_finish_is_fenced_in_both(lab):
    job_id = lab.submit()
    late = lab.claim(lease=0.01)
    give_up(lab, job_id)
    job = lab.claim()
    with pytest.raises(jobs_module.LeaseLost):
        lab.jobs.finish(late, a_reading())
    lab.jobs.finish(job, a_reading())
    lab.tell()
    assert lab.verdict().holds
