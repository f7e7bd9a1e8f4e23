"""A rules file is read as a whole or refused with every problem and its line."""

import hashlib
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.rules.reading import embedded_rules, open_rules, read_rules
from tests.unit.rules.given import EXAMPLE, PROTOCOLS, one_rule, rules_with
from worker.errors import PathlaneError, RulesInvalid
from worker.jobs.order import Mode
from worker.jobs.request import Priority

TEXT = EXAMPLE.read_text()
LINES = TEXT.splitlines()


def problems(text, name="rules.yaml"):
    with pytest.raises(RulesInvalid) as caught:
        read_rules(text, name)
    return list(caught.value.problems)


def line_of(fragment):
    """The number of the one line of the example that holds `fragment`."""
    (number,) = [number for number, line in enumerate(LINES, 1) if fragment in line]
    return number


def test_the_example_is_valid_and_says_what_it_says():
    rules = open_rules(EXAMPLE)
    assert [rule.name for rule in rules.rules] == ["frozen-section", "breast-biopsy", "everything-else"]
    frozen, biopsy, rest = rules.rules
    assert (frozen.mode, frozen.priority, frozen.tell) == (Mode.LIVE, Priority.STAT, ("lis",))
    assert biopsy.regions == ((0, 0, 2048, 2048),)
    assert (rest.style, rest.conditions, rest.tell) == ("cod", (), ())
    malignant = biopsy.ask[1].questions[0]
    assert malignant.options == ("Yes", "No", "Cannot be judged")
    assert malignant.triage == {"yes": "urgent", "cannot be judged": "flag"}
    assert set(malignant.final) == {"yes", "no"}
    assert rules.senders[1].fields == {"accession": ("OBR-3.1", "ORC-3.1"), "slide": ("OBR-19",)}


def test_the_embedded_rules_ask_every_slide_for_its_stain_and_tell_the_lis():
    (rule,) = read_rules(embedded_rules(), "rules.yaml").rules
    assert (rule.conditions, rule.mode, rule.tell) == ((), Mode.LIVE, ("lis",))
    (question,) = rule.ask[0].questions
    assert question.text == "Which stain is shown?"
    assert len(question.options) == 4
    assert question.triage == {
        "immunohistochemistry with dab": "urgent", "no tissue": "flag", "other stain": "flag",
    }  # fmt: skip


# One thing is changed in the example; the problem must name the file, the line and the place.
@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        ("version: 1\n\n", "version: 2\n\n", "version", "this program reads version 1"),
        ("    version: 2", "    version: two", "protocols.malignancy.version", "whole number"),
        ("        style: cod", "        style: short", "protocols.malignancy.questions[0].style", "'cot' or 'cod'"),
        ("options: [Yes, No, Cannot be judged]", "options: [Yes]", "protocols.malignancy.questions[0].options", "two to"),
        ("options: [Yes, No, Cannot be judged]", "options: [Yes, No, yes., Cannot be judged]",
         "protocols.malignancy.questions[0].options", "differ"),
        ("          Yes: urgent", "          Maybe: urgent", "protocols.malignancy.questions[0].triage.Maybe", "not among"),
        ("          Yes: urgent", "          Yes: at once", "protocols.malignancy.questions[0].triage.Yes", "must be 'stat'"),
        ("benign)'", "benign'", "protocols.malignancy.questions[0].final.No", "`)` too few"),
        ("      - name: reason", "      - name: Malignant", "protocols.malignancy.questions[1].name", "questions[0]"),
        ("    channel: hl7\n    application: IMA", "    channel: fax\n    application: IMA", "senders[0].channel", "'hl7'"),
        ("    charset: 8859/1", "    charset: latin1", "senders[1].charset", "table 0211"),
        ("      slide: OBR-19", "      slide: 19", "senders[1].fields.slide", "must be a segment, a field"),
        ("  - name: old-lis", "  - name: archive", "senders[1].name", "senders[0]"),
        ("      sender: archive", "      sendr: archive", "rules[0].match.sendr", "did you mean `sender`"),
        ("    ask: malignancy\n", "    ask: malignacy\n", "rules[0].ask", "did you mean `malignancy`"),
        ("    priority: stat", "    priority: low", "rules[0].priority", "as-ordered, stat, urgent, routine"),
        ("    regions: [[0, 0, 2048, 2048]]", "    regions: [[0, 0, 2048]]", "rules[1].regions[0]", "width, height"),
        ("    regions: [[0, 0, 2048, 2048]]", "    regions: [[0, 0, 0, 2048]]", "rules[1].regions[0][2]", "greater"),
        ("  - name: breast-biopsy", "  - name: frozen-section", "rules[1].name", "rules[0]"),
        ("    ask: [stain-check, malignancy]", "    ask: [stain-check, stain-check]", "rules[1].ask[1]", "twice"),
        ("    ask: stain-check\n    style", "    ask: []\n    style", "rules[2].ask", "empty"),
        ('      procedure: "*biopsy*"', "      procedure:", "rules[1].match.procedure", "has no value"),
        ("    ask: stain-check\n    style", "    ask: stain-check\n    stop: maybe\n    style", "rules[2].stop", "true or false"),
        ("  - name: everything-else", "  - nam: everything-else", "rules[2].nam", "did you mean `name`"),
    ],
)  # fmt: skip
def test_one_mistake_in_the_example_is_told_with_its_line(old, new, place, reason):
    assert old in TEXT
    changed = TEXT.replace(old, new, 1)
    pairs = zip(LINES, changed.splitlines(), strict=False)
    line = next(number for number, (before, after) in enumerate(pairs, 1) if before != after)
    (problem,) = [told for told in problems(changed, "site.yaml") if f" {place}: " in told]
    assert problem.startswith(f"site.yaml:{line}: {place}: ")
    assert reason in problem


def test_a_live_rule_without_an_endpoint_is_told_at_its_mode():
    (problem,) = problems(TEXT.replace("    mode: live\n    tell: lis\n", "    mode: live\n", 1))
    assert problem.startswith(f"rules.yaml:{line_of('mode: live')}: rules[0].mode: a live rule must say whom")


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(min_value=0, max_value=len(LINES)), min_size=1))
def test_comments_and_empty_lines_anywhere_move_the_line_with_the_mistake(added):
    wrong = [line.replace("sender: archive", "sendr: archive") for line in LINES]
    longer = [
        part for n, line in enumerate(wrong) for part in (["# a note", ""] if n in added else []) + [line]
    ]
    (line,) = [number for number, text in enumerate(longer, 1) if "sendr" in text]
    (problem,) = problems("\n".join(longer))
    assert problem.startswith(f"rules.yaml:{line}: rules[0].match.sendr: ")


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_lines():
    told = problems(
        PROTOCOLS.replace("DAB: urgent", "Dab 2: soon")
        + "rules:\n- {name: a, ask: secnd, mode: live}\n- {name: A, match: {stian: x}, ask: second}\n- 5\nmore: 1\n"
    )
    assert [re.match(r"rules\.yaml:(\d+): (.*?): ", problem).groups() for problem in told] == [
        ("6", "protocols.stain-check.questions[0].triage.Dab 2"),  # is no option
        ("6", "protocols.stain-check.questions[0].triage.Dab 2"),  # and its class is none
        ("12", "rules[0].ask"),
        ("12", "rules[0].mode"),
        ("13", "rules[1].name"),
        ("13", "rules[1]"),
        ("13", "rules[1].match.stian"),
        ("14", "rules[2]"),
        ("15", "more"),
    ]


def test_a_rule_behind_one_that_takes_everything_is_never_reached():
    first = "- {name: a, ask: second%s}\n- {name: b, ask: second}\n"
    with pytest.raises(RulesInvalid) as caught:
        rules_with(first % "")
    assert "rules[1]: is never reached" in str(caught.value)
    assert len(rules_with(first % ", stop: no").rules) == 2


def test_an_open_question_has_no_answers_to_sort():
    told = problems(PROTOCOLS.replace("'What is seen?',", "'What is seen?', triage: {tumour: stat},"))
    where, _, why = told[0].partition("tumour: ")
    assert where == "rules.yaml:10: protocols.second.questions[0].triage."
    assert why == "the question has no options, so no answer can be known in advance"


def test_a_broken_file_has_a_limited_number_of_problems():
    told = problems("version: 1\n" + "\n".join(f"k{n}: 1" for n in range(500)))
    assert len(told) == 101
    assert told[-1] == "rules.yaml: and 400 more problems"


def test_the_error_is_the_operators_and_is_not_tried_again():
    with pytest.raises(RulesInvalid) as caught:
        read_rules("version: 1\nrulez: []", "rules.yaml")
    assert isinstance(caught.value, PathlaneError)
    assert (caught.value.code, caught.value.retryable) == ("rules_invalid", False)
    assert "rules.yaml:2: rulez: is no key; did you mean `rules`?" in caught.value.public


def test_the_digest_is_of_what_the_rules_say_and_not_of_their_layout():
    rules = read_rules(TEXT, "a")
    noted = "\n".join(f"{line}  # note" if line.startswith("  - name") else line for line in LINES)
    assert read_rules(noted, "b").digest == rules.digest
    assert read_rules(TEXT.replace("priority: stat", "priority: urgent"), "a").digest != rules.digest
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", rules.digest)
    assert rules.digest != "sha256:" + hashlib.sha256(TEXT.encode()).hexdigest()


def test_what_is_left_out_has_the_default_that_the_reference_says():
    rule = one_rule().rules[0]
    assert (rule.mode, rule.priority, rule.style, rule.regions, rule.tell, rule.stop) == (
        Mode.SHADOW, None, None, None, (), True,
    )  # fmt: skip
    assert one_rule("priority: As-Ordered").rules[0] == rule


def test_a_file_that_cannot_be_opened_or_decoded_is_told_by_its_name_alone(tmp_path):
    missing = tmp_path / "rules.yaml"
    with pytest.raises(RulesInvalid) as caught:
        open_rules(missing)
    assert caught.value.problems == ("rules.yaml: cannot be opened: No such file or directory",)
    missing.write_bytes(b"version: 1\n# M\xfcller\n")
    with pytest.raises(RulesInvalid) as caught:
        open_rules(missing)
    assert caught.value.problems == ("rules.yaml:2: is not UTF-8",)
    missing.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())  # Windows editors put a mark in front
    assert open_rules(missing).digest == read_rules(TEXT, "").digest


WORDS = st.sampled_from(
    ["version", "1", "protocols", "rules", "senders", "name", "match", "ask", "stain", "options", "triage", "final",
     "mode", "live", "tell", "stop", "regions", "questions", "question", "a", "b", "(", "x*", "", "~"]
)  # fmt: skip
TREES = st.recursive(
    WORDS | st.text(max_size=5) | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(WORDS, TREES, max_size=5) | TREES)
def test_any_yaml_is_read_or_refused_with_a_reason(tree):
    try:
        read_rules(yaml.safe_dump(tree, allow_unicode=True), "r")
    except RulesInvalid as error:
        assert error.problems
        assert all(re.match(r"r(:\d+)?: .", problem) for problem in error.problems)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters() | st.sampled_from("[]{}:,-\n \t'\"&*!|>%@#"), max_size=60))
def test_any_text_is_read_or_refused_with_a_reason(text):
    with pytest.raises(RulesInvalid):
        read_rules(text, "r")


@settings(max_examples=200, deadline=None)
@given(
    st.integers(min_value=0, max_value=len(TEXT)), st.integers(min_value=0, max_value=30), st.text(max_size=8)
)
def test_the_example_with_a_piece_cut_out_and_another_put_in_is_read_or_refused(at, cut, put):
    try:
        read_rules(TEXT[:at] + put + TEXT[at + cut :], "r")
    except RulesInvalid as error:
        last = TEXT.count("\n") + 10
        assert all(0 < int((re.match(r"r:(\d+): ", p) or [0, 1])[1]) <= last for p in error.problems)
