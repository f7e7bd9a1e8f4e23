"""YAML becomes text with lines, or is refused."""

import pytest

from integrations.rules.document import DEEPEST, MOST_CHARACTERS, Unreadable, read_document


def refused(text):
    with pytest.raises(Unreadable) as caught:
        read_document(text)
    return [(problem.line, problem.place, problem.reason) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "word",
    [
        "No",  # a boolean in YAML 1.1, an answer here
        "yes",
        "0123",  # octal there, an identifier here
        "1e3",
        "12:30:00",  # sexagesimal
        "2026-11-23",  # a date
        "1_000",
        ".inf",
        "=",
    ],
)
def test_a_plain_word_is_the_text_that_is_written(word):
    assert read_document(f"key: [{word}]").tree == {"key": [word]}


@pytest.mark.parametrize("nothing", ["", "~", "null", "NULL"])
def test_a_key_without_a_value_has_none_and_a_quoted_word_is_itself(nothing):
    assert read_document(f"key: {nothing}").tree == {"key": None}
    assert read_document(f"key: '{nothing}'").tree == {"key": nothing}


def test_a_key_and_an_item_have_the_line_they_stand_in():
    document = read_document("a: 1\nb:\n  - x\n  - c: |\n      long\n      text\n    d:\n      y\n")
    assert document.tree == {"a": "1", "b": ["x", {"c": "long\ntext\n", "d": "y"}]}
    assert {place: line for place, line in document.lines.items() if place} == {
        ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4, ("b", 1, "d"): 7,
    }  # fmt: skip


def test_a_place_that_is_not_there_has_the_line_of_what_is_around_it():
    document = read_document("a: 1\nb:\n  c: 2\n")
    assert document.line(("b", "missing", 0)) == 2
    assert document.line(("nowhere",)) == 1


def test_a_key_that_is_given_twice_is_told_with_both_lines():
    assert refused("a: 1\nb: 2\na: 3\n") == [(3, ("a",), "is given twice, first in line 1")]


def test_what_could_grow_or_run_is_refused_where_it_stands():
    assert [line for line, _, _ in refused("a: &x [1]\nb: *x\nc: !!python/object:os.system ls\n")] == [
        1,
        2,
        3,
    ]


def test_aliases_of_aliases_cost_nothing():
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))
    assert len(refused(f"l0: &l0 [lol]\n{levels}")) > 29


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2", 2),
        ("a: 'open", 1),
        ("a: 1\n\tb: 2", 2),
        ("a: 1\n--- \nb: 2", 2),
        ("? [a]\n: b", 1),
        ("%YAML 7.0\n---\na: 1", 1),
        ("[" * 5000, 1),
        ("{a: " * 5000, 1),
        ('a: 1\nb: "\\0"', 2),
        ('a: 1\nb: "\\ud800"', 2),
        ('"\\UFFFFFFFF"', 0),  # ValueError inside PyYAML
        ("\0", 0),
        (f"%YAML {'9' * 5000}.1\n---\na", 0),
    ],
)
def test_what_is_not_yaml_of_our_kind_is_refused_with_its_line(text, line):
    assert [found for found, _, _ in refused(text)] == [line]


def test_a_file_is_no_longer_and_no_deeper_than_rules_need():
    assert refused("#" * (MOST_CHARACTERS + 1)) == [(0, (), "is longer than 131072 characters")]
    assert read_document("#" * MOST_CHARACTERS).tree is None
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert read_document(deep).tree is not None
    assert refused(f"[{deep}]") == [(1, (), "more than 12 levels")]
