"""Old uploads go, and what somebody refers to stays, on SQLite and on PostgreSQL."""

import os
import time
from functools import partial

import pytest

from integrations.retention import DAY, remove_old_uploads
from tests.builders import a_question, a_reading, a_request, an_order
from worker import uploads
from worker.errors import ImageMissing
from worker.jobs.order import Channel
from worker.settings import ImagingSettings
from worker.store.endpoints import Endpoints
from worker.store.instances import Instance, Instances
from worker.store.intake import Arrival, Intake
from worker.store.jobs import Jobs
from worker.store.sealing import Seal
from worker.store.used import Used

SEAL = Seal([Seal.new_key()])
NOW = time.time()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "uploads"


@pytest.fixture
def use(folder):
    return partial(uploads.use, folder)


@pytest.fixture
def jobs(database, use):
    return Jobs(database, use=use)


@pytest.fixture
def upload(folder):
    def upload(data=b"x", *, days):
        reference = uploads.keep(folder, [data], max_bytes=100)
        old(folder, reference, days=days)
        return reference

    return upload


def old(folder, reference, *, days):
    at = NOW - days * DAY
    for path in uploads.paths_of(folder, reference):
        os.utime(path, (at, at))


def remove(folder, database, *, days=30.0):
    settings = ImagingSettings(uploads_dir=folder, upload_days=days)
    return remove_old_uploads(settings, database, now=NOW)


def is_there(folder, reference):
    try:
        return bool(uploads.paths_of(folder, reference))
    except ImageMissing:
        return False


def submit(jobs, reference, **fields):
    return jobs.submit(a_request(images=[{"reference": reference}], **fields), submitter="t").job


def claim(jobs):
    return jobs.claim(worker_id="w", lease_seconds=60)


def test_uploads_are_kept_as_long_as_the_setting_says_and_for_ever_with_0(folder, database, upload):
    young, aged = upload(b"1", days=29), upload(b"2", days=31)
    assert remove(folder, database, days=0) == 0
    assert remove(folder, database) == 1
    assert (is_there(folder, young), is_there(folder, aged)) == (True, False)


def test_what_a_job_waits_or_runs_with_stays_until_it_has_ended(folder, database, jobs, upload):
    alone, first, second = (upload(data, days=1) for data in (b"1", b"2", b"3"))
    together = uploads.joined([first, second])
    submit(jobs, alone)
    submit(jobs, together)
    for reference in (alone, together):
        old(folder, reference, days=40)
    running = claim(jobs)
    assert remove(folder, database) == 0
    jobs.finish(running, a_reading())
    assert remove(folder, database) == 1
    assert (is_there(folder, alone), is_there(folder, together)) == (False, True)


def test_what_is_still_to_be_told_needs_its_image_until_it_was_told(folder, database, jobs, upload):
    Endpoints(database).add("lis", "https://lis.example", secret="x")
    reference = upload(days=1)
    submit(jobs, reference)
    jobs.finish(claim(jobs), a_reading())
    old(folder, reference, days=40)
    assert Used(database).digests() == set(uploads.digests_of(reference))
    assert remove(folder, database) == 0


def test_asking_about_an_old_upload_makes_it_young(folder, database, jobs, upload):
    reference = upload(days=40)
    job = submit(jobs, reference)
    jobs.cancel(job.id)
    assert remove(folder, database) == 0


def test_references_that_are_no_uploads_are_in_nobodys_way(folder, database, jobs, upload):
    submit(jobs, "https://images.example/x")
    submit(jobs, "upload:what")
    submit(jobs, "dicomweb:main/studies/1.2.3")
    assert Used(database).digests() == frozenset()
    upload(days=40)
    assert remove(folder, database) == 1


def an_instance(reference, uid="1.2.3.1"):
    order = an_order(images=(), series_uid="1.2.3")
    return Instance(sop_instance_uid=uid, sop_class="1.2", reference=reference, is_eligible=True,
                    is_slide=False, pixels=100, order=order)  # fmt: skip


def take(database, use):
    intake = Intake(database, SEAL, lambda _: [a_question()], use=use)
    arrival = Arrival(channel=Channel.HL7, application="A", facility="", control_id="1", raw=b"",
                      orders=(an_order(images=(), series_uid="1.2.3"),))  # fmt: skip
    (receipt,) = intake.take([arrival])
    return receipt.jobs


def test_an_order_makes_the_images_young_that_it_asks_about(folder, database, use, upload):
    reference = upload(days=40)
    Instances(database, SEAL).add(an_instance(reference))
    (job_id,) = take(database, use)
    Jobs(database).cancel(job_id)
    assert remove(folder, database) == 0


def test_an_instance_whose_upload_is_gone_is_forgotten_and_may_be_sent_again(folder, database, use, upload):
    instances = Instances(database, SEAL)
    reference = upload(days=40)
    instances.add(an_instance(reference))
    used = Used(database)
    assert used.forget_instances([reference], days=30) == 0  # it was sent again since
    assert used.forget_instances([reference], days=-1) == 1
    assert remove(folder, database) == 1
    assert take(database, use) == ()
    instances.add(an_instance(upload(days=0)))
    assert [order.series_uid for order in instances.at_rest(quiet_seconds=-1)] == ["1.2.3"]


def test_the_same_instance_again_is_announced_no_second_time(database):
    instances = Instances(database, SEAL)
    instances.add(an_instance("upload:sha256-" + "0" * 64))
    instances.given_on("1.2.3")
    instances.add(an_instance("upload:sha256-" + "0" * 64))
    assert instances.at_rest(quiet_seconds=-1) == []
