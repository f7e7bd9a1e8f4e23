"""The shadow report counts what would have changed, and names nobody."""

from datetime import UTC, datetime, timedelta

from integrations.shadow import report
from tests.builders import a_question, a_reading
from worker.jobs.job import Status
from worker.jobs.order import Mode
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority
from worker.store.cases import Asked

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def asked(answer="B. Immunohistochemistry with DAB", *, seconds=10.0, **fields):
    question = a_question(final={"immunohistochemistry with dab": "immunohisto", "no tissue": "insufficient"})
    values = {
        "case_id": "case_1", "job_id": "job_1", "status": Status.SUCCEEDED, "mode": Mode.SHADOW,
        "ordered": Priority.ROUTINE, "question": question, "reading": a_reading(answer=answer, choice=answer[:1]),
        "asked_at": NOON, "finished_at": NOON + timedelta(seconds=seconds), "final_report": "",
    }  # fmt: skip
    return Asked(**values | fields)


def test_a_raise_is_counted_with_what_it_would_change():
    found = report([asked(), asked(ordered=Priority.STAT), asked("C. No tissue")])
    assert (found.asked, found.answered, found.raised, found.flagged) == (3, 3, 1, 1)
    assert found.changes == {"routine to urgent": 1}


def test_nothing_is_ever_lowered():
    assert report([asked(ordered=Priority.STAT)]).rows[0].would_be is Priority.STAT


def test_agreement_is_counted_only_where_a_report_came_and_the_protocol_says_how():
    found = report([
        asked(final_report="Immunohistochemistry was done."), asked(final_report="Nothing of it."),
        asked(), asked("D. Other stain", final_report="Anything."),
    ])  # fmt: skip
    assert (found.agreed, found.disagreed) == (1, 1)
    assert [row.agrees for row in found.rows] == [True, False, None, None]


def test_no_tissue_is_not_taken_for_another_answer_that_ends_alike():
    found = report([asked("C. No tissue", final_report="Insufficient material.")])
    assert found.agreed == 1


def test_turnaround_is_from_the_order_to_the_reading():
    found = report([asked(seconds=s) for s in (1, 2, 3)])
    assert found.turnaround_median == 2
    assert 2 < found.turnaround_p95 <= 3


def test_a_question_without_a_reading_counts_as_asked_only():
    found = report([asked(reading=None, finished_at=None), asked(reading=a_reading(
        outcome=ReadingOutcome.UNPARSED, answer="", choice=None))])  # fmt: skip
    assert (found.asked, found.answered, found.raised) == (2, 0, 0)


def test_an_empty_report_is_all_zeros():
    found = report([])
    assert (found.asked, found.turnaround_median, found.turnaround_p95) == (0, None, None)


def test_the_words_of_a_report_are_not_in_it():
    assert "Canary" not in str(report([asked(final_report="CanaryPatient")]).document())
