"""Triage may raise a case's priority, never lower it; without an answer the lab's own order stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.triage import judge, priority_after
from tests.builders import a_reading
from worker.jobs.order import Channel, Order, Question, Sender, TriageClass, Verb
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority

OPTIONS = ("Invasive carcinoma", "In situ only", "Benign.")
MEANINGS = {"invasive carcinoma": "stat", "in situ only": "urgent", "benign.": "nothing", "unsure": "flag"}


def a_question(**fields):
    given = {
        "protocol": "breast", "version": 3, "name": "invasion", "text": "What is shown?", "options": OPTIONS,
        "triage": MEANINGS,
    }  # fmt: skip
    return Question(**given | fields)


def an_order(priority: Priority) -> Order:
    return Order(
        verb=Verb.AVAILABLE, sender=Sender(channel=Channel.HL7, application="LIS"), priority=priority
    )


@pytest.mark.parametrize(
    ("answer", "choice", "meaning"),
    [
        ("Invasive carcinoma", "A", TriageClass.STAT),
        ("A. Invasive carcinoma", "A", TriageClass.STAT),
        ("(B) in  situ\nONLY", "B", TriageClass.URGENT),
        ("b) In situ only.", "B", TriageClass.URGENT),
        ("B: In situ only", None, TriageClass.URGENT),
        ("B", "B", TriageClass.URGENT),  # the letter alone, and the parser knew which option it names
        ("C. Benign", "C", TriageClass.NOTHING),
        ("Unsure", None, TriageClass.FLAG),  # not an option, and the protocol has a word for it
        ("B", None, TriageClass.NOTHING),
        ("Not invasive carcinoma", None, TriageClass.NOTHING),
        ("A. Invasive carcinoma, or B. In situ only", None, TriageClass.NOTHING),
        ("", None, TriageClass.NOTHING),
    ],
)
def test_an_answer_means_what_the_protocol_says_of_it(answer, choice, meaning):
    assert judge(a_question(), a_reading(answer=answer, choice=choice)) is meaning


@pytest.mark.parametrize("outcome", [one for one in ReadingOutcome if one is not ReadingOutcome.ANSWERED])
def test_without_an_answer_the_labs_own_order_stands_whatever_was_written(outcome):
    reading = a_reading(outcome=outcome, answer="Invasive carcinoma", choice="A")
    assert judge(a_question(), reading) is TriageClass.NOTHING
    assert priority_after(an_order(Priority.URGENT), a_question(), reading) is Priority.URGENT


def test_a_class_that_this_program_does_not_know_changes_nothing():
    question = a_question(triage={"invasive carcinoma": "yesterday"})
    assert judge(question, a_reading(answer="Invasive carcinoma")) is TriageClass.NOTHING


def test_a_choice_beyond_the_options_chooses_nothing():
    assert judge(a_question(options=OPTIONS[:2]), a_reading(answer="Z", choice="Z")) is TriageClass.NOTHING


@pytest.mark.parametrize(
    ("answer", "ordered", "after"),
    [
        ("Invasive carcinoma", Priority.ROUTINE, Priority.STAT),
        ("In situ only", Priority.ROUTINE, Priority.URGENT),
        ("In situ only", Priority.STAT, Priority.STAT),
        ("Unsure", Priority.ROUTINE, Priority.ROUTINE),
        ("Benign", Priority.STAT, Priority.STAT),
    ],
)
def test_the_priority_after_triage(answer, ordered, after):
    assert priority_after(an_order(ordered), a_question(), a_reading(answer=answer)) is after


readings = st.builds(
    a_reading,
    outcome=st.sampled_from(ReadingOutcome),
    answer=st.one_of(st.sampled_from([*OPTIONS, *MEANINGS, "A. Invasive carcinoma"]), st.text()),
    choice=st.one_of(st.none(), st.sampled_from("ABCDZ")),
)
protocols = st.dictionaries(
    st.one_of(st.sampled_from(list(MEANINGS)), st.text()),
    st.one_of(st.sampled_from([one.value for one in TriageClass]), st.text()),
)


@given(ordered=st.sampled_from(Priority), asked=st.sampled_from(Priority), reading=readings, triage=protocols)
def test_triage_never_lowers_whatever_is_answered_and_whatever_a_protocol_says(
    ordered, asked, reading, triage
):
    question = a_question(triage=triage, priority=asked)
    after = priority_after(an_order(ordered), question, reading)
    assert after.level <= ordered.level
    if reading.outcome is not ReadingOutcome.ANSWERED:
        assert after is ordered
