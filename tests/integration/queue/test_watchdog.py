"""A worker whose engine hangs, crashes or fails, on a real store: who pays, who does not, and what is left."""

import time

import pytest

from tests.integration.queue.engines import Worker, hurry, submit, until
from worker.errors import LeaseLost
from worker.jobs.job import Status
from worker.jobs.reading import ReadingOutcome
from worker.store.jobs import Jobs
from worker.store.presence import Workers


@pytest.fixture
def worker(database, tmp_path):
    started = []

    def start(name="w1", **options):
        started.append(Worker(database, tmp_path, name, **options).start())
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def jobs(database):
    return Jobs(database)


def state(jobs, job_id):
    job = jobs.get(job_id)
    return job.status, job.attempt, job.alone


@pytest.mark.parametrize("how", ["hang", "crash", "lost"])
def test_an_engine_that_ends_gives_everything_back_at_once_and_only_the_suspect_pays(
    how, worker, database, jobs
):
    first = worker()
    hang = submit(database, "hang")
    first.hears()
    assert first.reasoner.reading.wait(30)
    guilty, waiting = submit(database, how), submit(database, "waits")
    first.hears(2)
    until(lambda: len(first.service.held.all()) == 3)
    began = time.monotonic()
    if how != "hang":
        first.reasoner.let_go.set()
    assert first.gone.wait(20)
    assert first.left == [70]
    assert time.monotonic() - began < 6, "nobody waits for a lease"
    until(lambda: first.service.held.all() == [])
    if how == "hang":
        assert state(jobs, hang) == (Status.QUEUED, 1, True)
        assert state(jobs, guilty) == state(jobs, waiting) == (Status.QUEUED, 0, False)
    else:  # both shared the step that ended the engine
        assert state(jobs, hang)[0] is Status.SUCCEEDED
        assert state(jobs, guilty) == (Status.QUEUED, 1, True)
    assert Workers(database).alive(within_seconds=60) == []
    second = worker("w2")
    for job_id in (hang, guilty):
        jobs.cancel(job_id)
    second.hears()
    until(lambda: jobs.get(waiting).status is Status.SUCCEEDED)


@pytest.mark.parametrize("how", ["crash", "lost"])
def test_a_dead_engine_burns_no_attempts(how, worker, database, jobs):
    one = worker()
    submit(database, how)
    for thread in one.hears():
        thread.join(30)
    others = [submit(database, "why") for _ in range(3)]
    for thread in one.hears(3):
        thread.join(30)
    assert [state(jobs, job_id) for job_id in others] == [(Status.QUEUED, 0, False)] * 3
    assert one.gone.wait(30)


@pytest.mark.parametrize("how", ["crash", "lost"])
def test_a_poison_job_ends_after_three_attempts_and_its_neighbours_are_read(how, worker, database, jobs):
    poison, neighbours = submit(database, how), [submit(database, "why") for _ in range(4)]
    for life in range(6):
        one = worker(f"w{life}")
        for thread in one.hears(3):
            thread.join(20)
        one.gone.wait(3)
        ends = [jobs.get(job_id).status for job_id in (poison, *neighbours)]
        if all(status.is_terminal for status in ends):
            break
    assert [jobs.get(job_id).status for job_id in neighbours] == [Status.SUCCEEDED] * 4
    assert max(jobs.get(job_id).attempt for job_id in neighbours) <= 2
    ended = jobs.get(poison)
    assert (ended.status, ended.attempt, ended.error_code) == (Status.FAILED, 3, "attempts_exhausted")


def test_a_job_that_may_be_poison_is_read_with_nobody_else_in_the_process(worker, database, jobs):
    one = worker(step_seconds=30)
    before = submit(database, "long", timeout=1)
    one.hears()
    assert one.reasoner.reading.wait(30)
    suspect = submit(database, "suspect", priority="stat")
    hurry(database, alone=True)
    others = [submit(database, f"other {n}") for n in range(3)]
    beside = []
    read = one.service.pipeline.read

    class Watching:
        def read(self, job, cancelled, enter):
            if job.alone and job.id == suspect:
                beside.append(len(one.service.held.all()))
                time.sleep(0.3)
                beside.append(len(one.service.held.all()))
            return read(job, cancelled, enter)

    one.service.pipeline = Watching()
    one.hears(2)
    until(lambda: {jobs.get(i).status for i in (before, suspect, *others)} == {Status.SUCCEEDED})
    assert beside == [1, 1]


def test_a_device_that_fails_time_after_time_is_used_no_more(worker, database, jobs):
    one = worker()
    failing = [submit(database, "memory") for _ in range(8)]
    one.service.hear()
    assert one.gone.wait(30)
    assert one.left == [69]
    assert sorted(jobs.get(i).attempt for i in failing) == [0, 0, 0, 1, 1, 1, 1, 1]


def test_one_success_in_between_and_the_device_is_not_to_blame(worker, database):
    one = worker(slots=1)
    for question in ("memory", "memory", "memory", "memory", "why", "memory", "memory"):
        submit(database, question)
    one.service.hear()
    assert not one.service.draining.is_set()


def test_what_runs_may_end_and_nothing_new_is_claimed(worker, database, jobs):
    one = worker(step_seconds=30)
    running = submit(database, "long", timeout=2)
    threads = one.hears()
    until(lambda: jobs.get(running).status is Status.RUNNING)
    one.drain.begin()
    late = submit(database, "why")
    one.hears()
    for thread in threads:
        thread.join(20)
    assert one.drain.ended.wait(30)
    assert state(jobs, running)[:2] == (Status.SUCCEEDED, 1)
    assert state(jobs, late)[:2] == (Status.QUEUED, 0)


def test_what_does_not_end_in_time_goes_back_unharmed_and_is_stopped(worker, database, jobs):
    one = worker(grace=0.3, step_seconds=30)
    long = submit(database, "long", timeout=60)
    threads = one.hears()
    until(lambda: jobs.get(long).status is Status.RUNNING)
    one.drain.begin()
    assert one.drain.ended.wait(30)
    assert state(jobs, long) == (Status.QUEUED, 0, False)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "its generation was stopped"
    other = jobs.claim(worker_id="w2", lease_seconds=30)
    assert (other.id, other.attempt) == (long, 1)
    assert jobs.reading(long) is None


def test_a_cancelled_job_stops_writing_within_a_step_and_keeps_what_it_wrote(worker, database, jobs):
    one = worker(step_seconds=30)
    long = submit(database, "long", timeout=60)
    threads = one.hears()
    until(lambda: one.reasoner.tokens > 3)
    jobs.cancel(long)
    one.service.beat()
    at = one.reasoner.tokens
    for thread in threads:
        thread.join(30)
    assert one.reasoner.tokens <= at + 2
    assert jobs.get(long).status is Status.CANCELLED
    reading = jobs.reading(long)
    assert reading.outcome is ReadingOutcome.CANCELLED
    assert "chromogen" in reading.raw_text


def test_a_deadline_is_an_outcome_with_the_text_so_far(worker, database, jobs):
    one = worker(step_seconds=30)
    long = submit(database, "long", timeout=1)
    one.service.hear()
    reading = jobs.reading(long)
    assert jobs.get(long).status is Status.SUCCEEDED
    assert reading.outcome is ReadingOutcome.DEADLINE
    assert "chromogen" in reading.raw_text
    assert reading.answer == ""


def test_what_is_released_is_as_if_it_had_never_been_claimed(database, jobs):
    job_id = submit(database, "why")
    job = jobs.claim(worker_id="w1", lease_seconds=30)
    jobs.release(job)
    assert state(jobs, job_id) == (Status.QUEUED, 0, False)
    for late in (lambda: jobs.release(job), lambda: jobs.suspect(job)):
        with pytest.raises(LeaseLost):
            late()
    again = jobs.claim(worker_id="w2", lease_seconds=30)
    assert (again.id, again.attempt) == (job_id, 1)


def test_a_suspect_is_tried_again_alone_unless_its_asker_took_it_back(database, jobs):
    kept, unwanted = submit(database, "why"), submit(database, "why not")
    held = [jobs.claim(worker_id="w1", lease_seconds=30) for _ in range(2)]
    jobs.cancel(unwanted)
    assert {job.id: jobs.suspect(job) for job in held} == {kept: Status.QUEUED, unwanted: Status.CANCELLED}
    assert state(jobs, kept) == (Status.QUEUED, 1, True)
    assert jobs.claim(worker_id="w2", lease_seconds=30).id == kept
