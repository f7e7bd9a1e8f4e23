"""A pattern cannot keep a report waiting."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.rules.patterns import MOST_CHARACTERS, MOST_TEXT, refusal, says


@pytest.mark.parametrize(
    "pattern",
    [
        "carcinoma",
        "diagnosis: .{0,80}(?:adeno)?carcinoma",
        r"\bHER2\b.{1,40}(score )?[23]\+",
        "[^.]{0,60}benign",
        "[]x]",
        r"[\]\[]",
        "a|b|",
        "^end$",
        "x{3}y{2,4}?",
        "}",
    ],
)
def test_what_a_laboratory_writes_is_taken(pattern):
    assert refusal(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a+)+$", "end"),
        ("x.*y", "end"),
        ("a{3,}", "end"),
        ("a{,3}", "end"),
        ("a?" * 40 + "a" * 40, "minutes"),
        ("(a|a)" * 30, "minutes"),
        ("(?:a{0,9}){0,9}b", "minutes"),
        ("(?:.{999}){999}", "minutes"),
        ("(?=a)", "look-ahead"),
        ("(?i)a", "flags"),
        (r"(a)\1", "escapes"),
        (r"\p", "escapes"),
        ("a\\", "escapes"),
        ("*a", "repeats nothing"),
        ("a{2}{3}", "repeats nothing"),
        ("(a", "too few"),
        ("a)", "too many"),
        ("[a", "closed"),
        ("[[a]]", "closed"),
        ("[a--b]", "doubled"),
        ("[z-a]", "not a regular expression"),
        ("a{3,1}", "not a regular expression"),
        ("a" * (MOST_CHARACTERS + 1), "at most"),
    ],
)
def test_what_could_run_away_or_means_nothing_is_refused_with_the_reason(pattern, reason):
    assert reason in refusal(pattern)


@given(st.text(alphabet="ab(|)?{}0123,[]^$.\\*+:-bw", max_size=40))
def test_every_pattern_is_refused_or_understood_by_python_as_it_is(pattern):
    if not refusal(pattern):
        re.compile(pattern)


def test_the_time_of_the_costliest_pattern_that_is_taken_grows_with_the_report_and_no_faster():
    costliest = "a.{0,68}a.{0,68}c"
    assert refusal(costliest) == ""
    assert refusal(costliest.replace("68", "70")) != ""
    begun = time.perf_counter()
    assert not says(costliest, "a" * (MOST_TEXT // 10))
    assert time.perf_counter() - begun < 10


def test_a_report_is_searched_across_its_lines_and_in_any_case():
    assert says("invasive carcinoma", "Diagnosis:\r\n  INVASIVE\n  carcinoma of the breast")
    assert not says("invasive carcinoma", "invasive lobular carcinoma")


def test_what_comes_after_the_longest_report_is_not_searched():
    assert not says("end", "x" * MOST_TEXT + "end")
