"""A worker with a real store and a pipeline that answers what the test says."""

import threading
import time

import pytest

from tests.builders import a_reading, a_request
from worker.engine.slots import Slots
from worker.errors import FetchFailed, ImageMissing, SlotTimeout, StoreUnavailable
from worker.jobs.job import Status
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority
from worker.service import Bells, Rhythm, Service
from worker.store.audit import Audit
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.presence import Presence, Workers


class Answers:
    """A pipeline: answers with what `answer` gives, and counts who is in it at once."""

    def __init__(self):
        self.answer = lambda job, cancelled: a_reading()
        self.most = 0
        #: ids, in the order in which they were claimed
        self.prepared = []
        self._inside = 0
        self._lock = threading.Lock()

    def read(self, job, cancelled, enter=lambda: None):
        self.prepared.append(job.id)
        enter()
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        try:
            return self.answer(job, cancelled)
        finally:
            with self._lock:
                self._inside -= 1


@pytest.fixture
def pipeline():
    return Answers()


@pytest.fixture
def rung():
    return {"read": [], "deliver": []}


@pytest.fixture
def service(database, tmp_path, pipeline, rung):
    presence = Presence(id="w1", host="h", pid=1, device="cpu", model="demo", slots=2, running=0)
    service = Service(
        jobs=Jobs(database), workers=Workers(database), slots=Slots(tmp_path / "slots", "cpu", 2),
        pipeline=pipeline, presence=presence, bells=Bells(read=rung["read"].append, deliver=rung["deliver"].append),
        rhythm=Rhythm(lease=0.6, sweep=0.1, patience=3600),
    )  # fmt: skip
    yield service
    service.stop()


@pytest.fixture
def slots_with_room(tmp_path):
    """For one case outside."""
    return Slots(tmp_path / "slots", "ahead", 2, ahead=1)


def submit(service, **fields):
    return service.jobs.submit(a_request(**fields), submitter="lab").job.id


def status(service, job_id):
    return service.jobs.get(job_id).status


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_one_ring_works_everything_off(service):
    ids = [submit(service) for _ in range(5)]
    assert service.work_off() is False
    assert {status(service, i) for i in ids} == {Status.SUCCEEDED}


def test_a_read_that_takes_long_gives_its_ring_back_in_time(service):
    submit(service)
    assert service.work_off(seconds=-1) is True


def test_a_finished_job_rings_for_its_deliveries(service, database, rung):
    Endpoints(database).add("lis", "https://lis.example", secret="whsec_x")
    job_id = submit(service)
    service.work_off()
    assert len(rung["deliver"]) == 1
    assert service.jobs.get(job_id).status is Status.SUCCEEDED


def test_never_more_reads_than_slots(service, pipeline):
    pipeline.answer = lambda job, cancelled: time.sleep(0.05) or a_reading()
    for _ in range(8):
        submit(service)
    threads = [threading.Thread(target=service.work_off) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pipeline.most == 2


def test_a_stat_case_starts_while_routine_cases_take_every_slot(service, pipeline):
    service.can_pause = True
    may_end = threading.Event()

    def answer(job, _):
        assert job.request.priority is Priority.STAT or may_end.wait(30)
        return a_reading()

    pipeline.answer = answer
    routine = [submit(service) for _ in range(4)]
    readers = [threading.Thread(target=service.work_off) for _ in range(3)]
    for reader in readers:
        reader.start()
    until(lambda: pipeline.most == 2)
    until(
        lambda: [reader.is_alive() for reader in readers].count(False) == 1
    )  # no slot is shared for routine
    stat = submit(service, priority="stat")
    service.work_off()
    assert status(service, stat) is Status.SUCCEEDED
    assert not any(status(service, job_id).is_terminal for job_id in routine)
    may_end.set()
    for reader in readers:
        reader.join(30)
    assert {status(service, job_id) for job_id in routine} == {Status.SUCCEEDED}


@pytest.mark.parametrize(("can_pause", "held"), [(False, "routine"), (True, "stat")])
def test_a_stat_case_is_left_to_other_workers_where_nobody_can_be_paused(
    service, pipeline, monkeypatch, can_pause, held
):
    monkeypatch.setattr("worker.service.SLOT_SECONDS", 0.3)
    service.can_pause = can_pause
    may_end = threading.Event()
    pipeline.answer = lambda job, _: may_end.wait(30) and a_reading()
    for _ in range(2):
        submit(service, priority=held)
    readers = [threading.Thread(target=service.work_off) for _ in range(2)]
    for reader in readers:
        reader.start()
    until(lambda: pipeline.most == 2)
    stat = submit(service, priority="stat")
    with pytest.raises(SlotTimeout):
        service.read_next()
    assert status(service, stat) is Status.QUEUED
    may_end.set()
    for reader in readers:
        reader.join(30)


class Standing:
    """A service with both slots taken by routine cases, and one that has been made ready for the next."""

    def __init__(self, service, pipeline, slots, **outside):
        self.service, self.may_end = service, threading.Event()
        service.can_pause = True
        service.slots = slots
        self.in_model = []
        pipeline.answer = self._answer
        self.before = [submit(service) for _ in range(2)]
        self.readers = []
        self.read(2)
        until(lambda: sorted(self.in_model) == sorted(self.before))
        self.outside = submit(service, **outside)
        self.read(1)
        until(lambda: self.outside in pipeline.prepared)

    def read(self, readers):
        started = [threading.Thread(target=self.service.work_off) for _ in range(readers)]
        for reader in started:
            reader.start()
        self.readers += started

    def _answer(self, job, cancelled):
        self.in_model.append(job.id)
        if cancelled.is_set():
            return a_reading(outcome=ReadingOutcome.CANCELLED, answer="")
        assert job.priority is Priority.STAT or self.may_end.wait(30)
        return a_reading()

    def end(self):
        self.may_end.set()
        for reader in self.readers:
            reader.join(30)


def test_while_all_slots_are_taken_the_next_case_is_made_ready_and_enters_when_one_is_left(
    service, pipeline, slots_with_room
):
    standing = Standing(service, pipeline, slots_with_room)
    later = submit(service)
    time.sleep(0.1)
    assert standing.outside not in standing.in_model, "it is ready, and no more"
    assert status(service, later) is Status.QUEUED, "one at a time"
    standing.end()
    assert pipeline.most == 2
    assert {status(service, i) for i in (*standing.before, standing.outside)} == {Status.SUCCEEDED}


def test_a_case_that_stands_ready_is_given_back_unread_when_its_worker_drains(
    service, pipeline, slots_with_room
):
    standing = Standing(service, pipeline, slots_with_room)
    service.draining.set()
    until(lambda: status(service, standing.outside) is Status.QUEUED)
    assert service.jobs.get(standing.outside).attempt == 0, "no attempt is used up"
    standing.end()
    assert {status(service, i) for i in standing.before} == {Status.SUCCEEDED}, "what runs may end"


def test_a_case_that_stands_ready_and_is_cancelled_waits_for_no_slot(service, pipeline, slots_with_room):
    service.rhythm = Rhythm(lease=600, sweep=0.1, patience=3600)
    standing = Standing(service, pipeline, slots_with_room)
    service.start()
    service.jobs.cancel(standing.outside)
    until(lambda: status(service, standing.outside) is Status.CANCELLED)
    assert {status(service, i) for i in standing.before} == {Status.RUNNING}
    standing.end()


def test_a_stat_case_never_stands_outside(service, pipeline, slots_with_room):
    standing = Standing(service, pipeline, slots_with_room, priority="stat")
    until(lambda: status(service, standing.outside) is Status.SUCCEEDED)
    assert {status(service, i) for i in standing.before} == {Status.RUNNING}
    standing.end()


def test_a_refused_image_fails_its_job_and_the_next_one_is_read(service, pipeline):
    def answer(job, _):
        if job.request.question == "bad":
            raise ImageMissing
        return a_reading()

    pipeline.answer = answer
    bad, good = submit(service, question="bad"), submit(service)
    service.work_off()
    assert (status(service, bad), service.jobs.get(bad).error_code) == (Status.FAILED, "image_missing")
    assert status(service, good) is Status.SUCCEEDED


def test_a_transient_error_is_tried_again_later(service, pipeline):
    def answer(job, _):
        raise FetchFailed

    pipeline.answer = answer
    job_id = submit(service)
    service.work_off()
    job = service.jobs.get(job_id)
    assert (job.status, job.attempt) == (Status.QUEUED, 1)
    assert job.not_before > job.created_at


def test_an_unforeseen_error_is_this_jobs_alone_and_says_nothing_of_the_case(service, pipeline, capsys):
    def answer(job, _):
        raise RuntimeError("Canary")

    pipeline.answer = answer
    job_id = submit(service)
    service.work_off()
    job = service.jobs.get(job_id)
    assert (job.status, job.attempt) == (Status.QUEUED, 1)
    assert "Canary" not in capsys.readouterr().err


def test_a_long_read_keeps_its_lease(service, pipeline):
    pipeline.answer = lambda job, cancelled: time.sleep(2) or a_reading()
    service.start()
    job_id = submit(service)
    service.work_off()
    job = service.jobs.get(job_id)
    assert (job.status, job.attempt) == (Status.SUCCEEDED, 1)


def test_a_cancelled_read_hears_of_it_long_before_the_next_heartbeat(service, pipeline):
    service.rhythm = Rhythm(lease=600, sweep=0.1, patience=3600)

    def answer(job, cancelled):
        assert cancelled.wait(10)
        return a_reading(outcome=ReadingOutcome.CANCELLED, answer="")

    pipeline.answer = answer
    service.start()
    job_id = submit(service)
    reader = threading.Thread(target=service.work_off)
    reader.start()
    until(lambda: status(service, job_id) is Status.RUNNING)
    service.jobs.cancel(job_id)
    reader.join(10)
    assert status(service, job_id) is Status.CANCELLED


def test_a_read_whose_lease_was_lost_is_stopped_and_records_nothing(service, pipeline):
    def answer(job, cancelled):
        service.jobs.renew([(job.id, job.attempt)], lease_seconds=-1)
        service.jobs.sweep(patience_seconds=3600)
        service.beat()
        assert cancelled.is_set()
        return a_reading()

    pipeline.answer = answer
    job_id = submit(service)
    assert service.read_next()
    assert status(service, job_id) is Status.QUEUED
    assert service.jobs.reading(job_id) is None


def test_the_sweep_rings_for_what_nobody_heard_but_only_as_often_as_slots_are_free(service, rung):
    for _ in range(5):
        submit(service)
    service.sweep()
    assert rung["read"] == [2]
    with service.slots.hold(timeout_seconds=0), service.slots.hold(timeout_seconds=0):
        service.sweep()
    assert rung["read"] == [2]


def test_a_draining_worker_claims_nothing_new(service, rung):
    job_id = submit(service)
    service.draining.set()
    service.work_off()
    service.sweep()
    assert status(service, job_id) is Status.QUEUED
    assert rung["read"] == []


def test_a_worker_is_seen_with_what_it_runs_and_leaves(service, pipeline):
    def answer(job, _):
        service.beat()
        (here,) = service.workers.alive(within_seconds=60)
        assert here.running == 1
        return a_reading()

    pipeline.answer = answer
    submit(service)
    service.start()
    service.work_off()
    service.stop()
    assert service.workers.alive(within_seconds=60) == []


def test_jobs_whose_rings_nobody_hears_are_read_all_the_same(service):
    ids = [submit(service) for _ in range(5)]
    service.sweep()
    time.sleep(0.3)
    assert {status(service, i) for i in ids} == {Status.QUEUED}, "the ring gets its time"
    service.sweep()
    until(lambda: {status(service, i) for i in ids} == {Status.SUCCEEDED})


def test_a_heartbeat_that_the_database_did_not_take_is_made_up_for_soon(service, monkeypatch):
    """Else one lost answer and one pause are longer than a lease."""
    monkeypatch.setattr("worker.service.STORE_RETRY_SECONDS", 0.05)
    beats = []

    def beat():
        beats.append(time.monotonic())
        raise StoreUnavailable

    threading.Thread(target=service._every, args=(0.5, beat), daemon=True).start()
    until(lambda: len(beats) == 3)
    assert beats[2] - beats[0] < 0.4


def test_a_worker_that_hears_its_rings_leaves_the_reading_to_them(service):
    service.sweep()
    service.hear()
    waiting = submit(service)
    service.sweep()
    time.sleep(0.3)
    assert status(service, waiting) is Status.QUEUED
    service.hear()
    assert status(service, waiting) is Status.SUCCEEDED


@pytest.mark.parametrize(("broker_is_there", "hears", "starts_anew"), [
    (True, False, 1), (False, False, 0), (True, True, 0),
])  # fmt: skip
def test_a_worker_that_never_hears_a_ring_the_broker_took_starts_anew(
    service, broker_is_there, hears, starts_anew
):
    told = []
    service.deaf = lambda: told.append(1)
    service.bells = Bells(read=lambda _: broker_is_there, deliver=lambda _: None)
    for sweep in range(65):
        submit(service)
        service.sweep()
        until(lambda: service.slots.free_here == 2)
        if hears and sweep % 10 == 0:
            service.hear()
    assert len(told) == starts_anew


def test_a_worker_lays_the_chain_of_the_audit_by_and_by(service, database):
    service.chain = Audit(database).chain
    service.jobs.submit(a_request(), submitter="lab")
    service.start()
    until(lambda: Audit(database).head().seq == 1)
