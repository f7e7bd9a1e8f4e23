"""What a hospital's messages make of cases, questions and jobs, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from tests.builders import a_question, a_reading, an_order
from worker.errors import SealBroken
from worker.jobs.job import Status
from worker.jobs.order import Channel, Merge, Mode, Order, Subject, Verb, order_document, order_of
from worker.jobs.request import Priority
from worker.store.cases import Cases, Validity
from worker.store.endpoints import Endpoints
from worker.store.instances import Instance, Instances
from worker.store.intake import Arrival, Intake, Taken
from worker.store.jobs import Jobs
from worker.store.sealing import Seal

SEAL = Seal([Seal.new_key()])


@pytest.fixture
def jobs(database):
    return Jobs(database)


@pytest.fixture
def cases(database):
    return Cases(database, SEAL)


@pytest.fixture
def instances(database):
    return Instances(database, SEAL)


@pytest.fixture
def site(database):
    """Takes orders in, each in a message of its own, and asks one question about each."""
    return Site(database)


class Site:
    def __init__(self, database):
        self.asked = [a_question()]
        self.intake = Intake(database, SEAL, lambda _: self.asked)
        self._number = 0

    def message(self, *orders, **fields):
        self._number += 1
        arrival = {"channel": Channel.HL7, "application": "IMA", "facility": "PATH",
                   "control_id": f"MSG{self._number}", "raw": b"MSH|..."}  # fmt: skip
        return Arrival(orders=orders, **arrival | fields)

    def take(self, *orders, **fields):
        (receipt,) = self.intake.take([self.message(*orders, **fields)])
        return receipt


def finish(jobs, **fields):
    job = jobs.claim(worker_id="w", lease_seconds=30)
    jobs.finish(job, a_reading(**fields))
    return job.id


def rows(database, table):
    with database.read() as connection:
        return connection.execute(text(f"SELECT * FROM {table}")).mappings().all()


def test_an_image_that_is_available_is_asked_about(site, jobs):
    (job_id,) = site.take(an_order()).jobs
    job = jobs.get(job_id)
    assert job.status is Status.QUEUED
    assert job.request.question == "Which stain is shown?"
    assert job.request.labels["protocol"] == "stain-check/1"


def test_the_same_message_again_makes_nothing_and_says_so(site, database):
    message = site.message(an_order())
    first, again = (site.intake.take([message])[0] for _ in range(2))
    assert (first.taken, again.taken) == (Taken.NEW, Taken.AGAIN)
    assert len(rows(database, "jobs")) == 1


def test_another_message_under_the_same_control_id_is_a_conflict(site, database):
    site.take(an_order(), control_id="X")
    receipt = site.take(an_order(slide="other"), control_id="X", raw=b"other")
    assert receipt.taken is Taken.CONFLICT
    assert len(rows(database, "cases")) == 1


def test_the_same_news_in_a_new_message_makes_no_second_job(site, database):
    assert len(site.take(an_order()).jobs) == 1
    assert site.take(an_order()).jobs == ()
    assert len(rows(database, "messages")) == 2


def test_the_same_message_on_two_connections_at_once_makes_one_job(site, database):
    message = site.message(an_order())
    with ThreadPoolExecutor(4) as pool:
        taken = [r[0].taken for r in pool.map(lambda _: site.intake.take([message]), range(4))]
    assert sorted(taken) == [Taken.AGAIN] * 3 + [Taken.NEW]
    assert len(rows(database, "jobs")) == 1


def test_a_batch_is_one_transaction_and_later_messages_see_earlier_ones(site, database):
    batch = [site.message(an_order(slide=f"S-{n}")) for n in range(5)]
    batch.append(batch[0])
    assert [r.taken for r in site.intake.take(batch)] == [Taken.NEW] * 5 + [Taken.AGAIN]
    assert len(rows(database, "jobs")) == 5


def test_what_was_registered_before_is_known_when_the_image_comes(site, database):
    seen = []
    site.intake = Intake(database, SEAL, lambda order: seen.append(order) or ())
    registered = an_order(Verb.REGISTERED, priority=Priority.STAT, placer_order="P1", images=())
    site.take(registered)
    site.take(an_order(patient=None))
    assert (seen[0].placer_order, seen[0].priority) == ("P1", Priority.STAT)
    assert seen[0].patient.family == "MÜLLER"


def test_triage_and_rules_never_lower_what_the_lab_ordered(site, jobs):
    site.asked = [a_question(priority=Priority.ROUTINE), a_question(name="b", priority=Priority.STAT)]
    made = [jobs.get(i) for i in site.take(an_order(priority=Priority.URGENT)).jobs]
    assert [job.priority for job in made] == [Priority.URGENT, Priority.STAT]


def test_a_withdrawn_image_cancels_and_can_come_back(site, jobs, cases):
    (first,) = site.take(an_order()).jobs
    site.take(an_order(Verb.WITHDRAWN))
    assert jobs.get(first).status is Status.CANCELLED
    (second,) = site.take(an_order()).jobs
    assert jobs.get(second).status is Status.QUEUED


def test_a_reading_of_a_withdrawn_image_is_stale(site, jobs, cases):
    site.take(an_order())
    job_id = finish(jobs)
    assert cases.standing(job_id).validity is Validity.CURRENT
    site.take(an_order(Verb.WITHDRAWN))
    assert cases.standing(job_id).validity is Validity.STALE


def test_an_order_cancelled_for_the_accession_cancels_every_slide(site, jobs):
    made = [site.take(an_order(slide=f"S-{n}")).jobs[0] for n in range(3)]
    site.take(an_order(Verb.WITHDRAWN, slide=""))
    assert {jobs.get(i).status for i in made} == {Status.CANCELLED}


def test_a_closed_case_keeps_its_report_and_asks_nothing_more(site, jobs, cases):
    site.take(an_order())
    job_id = finish(jobs)
    site.take(an_order(Verb.CLOSED, final_report="Carcinoma."))
    assert cases.standing(job_id).validity is Validity.CLOSED
    assert site.take(an_order(series_uid="1.2.4")).jobs == ()
    (asked,) = cases.asked(since=datetime.now(UTC) - timedelta(hours=1))
    assert asked.final_report == "Carcinoma."


def test_a_newer_reading_supersedes_the_older_one_and_names_it(site, jobs, cases):
    site.take(an_order())
    old = finish(jobs)
    site.take(an_order(series_uid="1.2.4"))
    assert cases.standing(old).validity is Validity.CURRENT  # the newer one is not read yet
    new = finish(jobs)
    assert cases.standing(old).validity is Validity.SUPERSEDED
    assert cases.standing(new).validity is Validity.CURRENT
    assert cases.standing(new).supersedes == old


def test_a_job_that_no_order_asked_for_has_no_standing(cases):
    assert cases.standing("job_1") is None


def test_a_patient_merge_rekeys_and_the_audit_keeps_both_numbers(site, jobs, cases, database):
    site.take(an_order())
    job_id = finish(jobs)
    merge = Merge(
        subject=Subject.PATIENT, prior="123", prior_authority="HIS", survivor="9", survivor_authority="HIS"
    )
    site.take(an_order(Verb.MERGED, patient=None, merge=merge))
    patient = cases.standing(job_id).order.patient
    assert (patient.id, patient.family) == ("9", "MÜLLER")
    (note,) = [row for row in rows(database, "audit") if row["action"] == "patient merged"]
    assert SEAL.open_json(note["sealed"]) == {"prior": "123", "survivor": "9"}


def test_an_accession_merge_moves_the_slides_and_no_question_is_asked_twice(site, jobs, cases):
    site.take(an_order())
    job_id = finish(jobs)
    merge = Merge(subject=Subject.ACCESSION, prior="S26-0001", survivor="S26-0002")
    site.take(an_order(Verb.MERGED, merge=merge))
    assert cases.standing(job_id).order.accession == "S26-0002"
    assert site.take(an_order(accession="S26-0002")).jobs == ()


def test_an_accession_merge_into_a_slide_that_exists_moves_its_questions(site, jobs, cases, database):
    site.take(an_order())
    site.take(an_order(accession="S26-0002", series_uid="1.2.9"))
    first, second = finish(jobs), finish(jobs)
    merge = Merge(subject=Subject.ACCESSION, prior="S26-0001", survivor="S26-0002")
    site.take(an_order(Verb.MERGED, merge=merge))
    assert {cases.standing(i).order.accession for i in (first, second)} == {"S26-0002"}
    assert len(rows(database, "cases")) == 2


def test_test_messages_live_apart(site, jobs, cases):
    site.take(an_order())
    site.take(an_order(Verb.CLOSED, is_test=True))
    assert cases.standing(finish(jobs)).validity is Validity.CURRENT


def test_in_shadow_nobody_is_told_and_live_tells_whom_the_rule_names(site, jobs, database):
    Endpoints(database).add("lis", "https://lis.example", secret="x")
    site.asked = [
        a_question(mode=Mode.SHADOW, tell=("lis",)),
        a_question(name="b", tell=("lis", "nobody")),
    ]
    shadow, live = (jobs.get(i).request.endpoints for i in site.take(an_order()).jobs)
    assert (shadow, live) == ((), ("lis",))


def an_instance(uid, *, pixels=100, slide_level=False, eligible=True, **order):
    return Instance(
        sop_instance_uid=uid, sop_class="1.2", reference=f"upload:sha256-{int(uid[-1]):064}",
        is_eligible=eligible, is_slide=slide_level, pixels=pixels, order=an_order(images=(), **order),
    )  # fmt: skip


def test_a_question_waits_for_its_picture_and_is_asked_once_when_it_has_come(site, jobs, instances):
    assert site.take(an_order(images=())).jobs == ()
    instances.add(an_instance("1.2.3.1"))
    (order,) = instances.at_rest(quiet_seconds=-1)
    (job_id,) = site.take(order).jobs
    assert jobs.get(job_id).request.images[0].reference == f"upload:sha256-{1:064}"
    instances.given_on("1.2.3")
    assert instances.at_rest(quiet_seconds=-1) == []
    assert site.take(an_order(images=())).jobs == ()


def test_a_series_is_not_at_rest_while_instances_come(instances):
    instances.add(an_instance("1.2.3.1"))
    instances.add(an_instance("1.2.3.1"))
    assert instances.at_rest(quiet_seconds=60) == []


def test_of_a_slide_all_levels_are_one_image_the_largest_first_and_never_its_label(site, jobs, instances):
    for uid, pixels, eligible in (("1.1", 10**7, False), ("1.4", 10**5, True), ("1.2", 9_000_000, True),
                                  ("1.3", 10**10, True)):  # fmt: skip
        instances.add(an_instance(uid, pixels=pixels, slide_level=True, eligible=eligible))
    (job_id,) = site.take(an_order(images=())).jobs
    levels = f"upload:sha256-{3:064},sha256-{2:064},sha256-{4:064}"
    assert [i.reference for i in jobs.get(job_id).request.images] == [levels]


def test_dicom_that_nobody_sent_is_looked_for_in_the_sites_archive(site, jobs, instances, database):
    site.intake = Intake(database, SEAL, lambda _: site.asked, archive="main")
    asked = [
        site.take(an_order(images=(), study_uid="1.2", series_uid="1.2.9")),
        site.take(an_order(images=(), study_uid="1.3", series_uid="", slide="S26-0001-A2")),
    ]
    found = [jobs.get(job).request.images[0].reference for receipt in asked for job in receipt.jobs]
    assert found == ["dicomweb:main/studies/1.2/series/1.2.9", "dicomweb:main/studies/1.3"]


def test_what_was_sent_or_named_is_shown_rather_than_what_is_in_the_archive(site, jobs, instances, database):
    site.intake = Intake(database, SEAL, lambda _: site.asked, archive="main")
    instances.add(an_instance("1.2.3.1"))
    (sent,) = site.take(an_order(images=(), study_uid="1.2")).jobs
    (named,) = site.take(an_order(study_uid="1.2", slide="S26-0001-A2")).jobs
    assert jobs.get(sent).request.images[0].reference == f"upload:sha256-{1:064}"
    assert jobs.get(named).request.images[0].reference.startswith("upload:")


@pytest.mark.parametrize("study", ["", "1.2/../x", "1.2?a=b"])
def test_a_study_that_cannot_be_named_in_an_archive_waits(site, database, study):
    site.intake = Intake(database, SEAL, lambda _: site.asked, archive="main")
    assert site.take(an_order(images=(), study_uid=study)).jobs == ()


def test_regions_are_asked_for_each_picture(site, jobs):
    site.asked = [a_question(regions=((0, 0, 10, 10), (5, 5, 20, 20)))]
    (job_id,) = site.take(an_order()).jobs
    assert [image.region.width for image in jobs.get(job_id).request.images] == [10, 20]


def test_no_name_and_no_message_can_be_read_in_the_database(site, database):
    site.take(an_order(), raw=b"MSH|CanaryPatient")
    told = str([rows(database, table) for table in ("messages", "cases", "asks", "audit", "jobs")])
    for word in ("CanaryPatient", "MÜLLER", "ZOË"):
        assert word not in told


def test_a_message_can_be_read_with_the_key_until_it_is_forgotten(site, database):
    site.take(an_order(), raw=b"MSH|text")
    (row,) = rows(database, "messages")
    assert site.intake.message(row["id"]) == b"MSH|text"
    with pytest.raises(SealBroken):
        Intake(database, Seal([Seal.new_key()]), lambda _: ()).message(row["id"])
    assert site.intake.forget(days=0) == 1
    assert site.intake.message(row["id"]) is None


def test_a_new_key_in_front_opens_what_the_old_one_sealed():
    old = Seal.new_key()
    both = Seal([Seal.new_key(), old])
    assert both.open(Seal([old]).close(b"x")) == b"x"
    assert both.digest("a") == Seal([old]).digest("a")


def test_an_order_survives_being_written_down():
    order = replace(an_order(), occurred_at=datetime(2026, 11, 23, tzinfo=UTC))
    assert order_of(order_document(order)) == order
    assert isinstance(order, Order)


def test_what_is_known_of_the_case_holds_for_its_slides(site, database):
    seen = []
    site.intake = Intake(database, SEAL, lambda order: seen.append(order) or ())
    site.take(an_order(Verb.REGISTERED, slide="", priority=Priority.STAT, placer_order="P1", images=()))
    site.take(an_order())
    assert (seen[0].slide, seen[0].placer_order, seen[0].priority) == ("S26-0001-A1", "P1", Priority.STAT)


def test_news_of_a_patient_changes_their_cases_and_makes_none(site, jobs, cases, database):
    site.take(an_order())
    job_id = finish(jobs)
    renamed = replace(an_order().patient, family="Meier")
    site.take(an_order(Verb.REGISTERED, accession="", slide="", images=(), patient=renamed))
    assert cases.standing(job_id).order.patient.family == "Meier"
    assert len(rows(database, "cases")) == 1


def test_domains_keep_the_same_accession_number_of_two_labs_apart(site, database):
    site.take(an_order(domain="a"))
    site.take(an_order(domain="b"))
    assert len(rows(database, "cases")) == 2


def test_an_image_that_comes_after_the_final_report_is_not_asked_about(site, cases):
    site.take(an_order(Verb.CLOSED, slide="", final_report="Benign."))
    assert site.take(an_order()).jobs == ()


def test_of_two_scans_in_one_batch_the_later_one_counts(site, jobs, cases):
    scans = [site.message(an_order(series_uid=f"1.2.{n}")) for n in range(3, 23)]
    made = [job for receipt in site.intake.take(scans) for job in receipt.jobs]
    for _ in made:
        finish(jobs)
    validity = [cases.standing(job).validity for job in made]
    assert validity == [Validity.SUPERSEDED] * 19 + [Validity.CURRENT]
    assert cases.standing(made[-1]).supersedes == made[-2]
