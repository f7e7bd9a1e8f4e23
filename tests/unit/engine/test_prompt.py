"""What the model is asked, and what its text is taken to mean."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.prompt import SYSTEM_PROMPTS, choice, messages, parse, user_text
from worker.engine.reasoner import Finish
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import OPTION_LETTERS, Style

STAINS = ("Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue")
CUT_OFF = {
    Finish.LENGTH: ReadingOutcome.TRUNCATED,
    Finish.DEADLINE: ReadingOutcome.DEADLINE,
    Finish.CANCELLED: ReadingOutcome.CANCELLED,
}

words = st.text(string.ascii_lowercase, min_size=3, max_size=12)
options = st.lists(words, min_size=2, max_size=26, unique=True)
prose = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), min_size=1).filter(
    str.strip
)
tagged = st.lists(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "A", "B. x", " ", "\n", "<", "x"])
).map("".join)


def test_the_system_prompts_are_the_model_cards_word_for_word():
    form = "Use the following format:<think> Your step-by-step reasoning </think><answer> Your final answer </answer>"
    assert {
        Style.COT: f"You are a pathology expert, your task is to answer question step by step. {form}",
        Style.COD: (
            "You are a pathology expert, your task is to think step by step, but only keep a minimum draft for each "
            "thinking step, with 5 words at most. Return the answer at the end of the response after a separator. "
            f"{form}"
        ),
    } == SYSTEM_PROMPTS


def test_options_follow_the_question_with_their_letters():
    assert user_text("Which stain?", STAINS[:2]) == (
        "Which stain? A. Hematoxylin and eosin B. Immunohistochemistry with DAB"
    )
    assert user_text("What is seen?", ()) == "What is seen?"


def test_the_images_come_before_the_text_in_their_order():
    system, user = messages(style=Style.COD, question="Why?", options=(), images=["first", "second"])
    assert system == {"role": "system", "content": SYSTEM_PROMPTS[Style.COD]}
    assert user["role"] == "user"
    assert user["content"] == [
        {"type": "image", "image": "first"},
        {"type": "image", "image": "second"},
        {"type": "text", "text": "Why?"},
    ]


def test_pixel_limits_go_with_each_image():
    _, user = messages(
        style=Style.COT, question="?", options=(), images=["a", "b"],
        limits=[{"max_pixels": 784}, {"max_pixels": 1568}],
    )  # fmt: skip
    assert [part.get("max_pixels") for part in user["content"]] == [784, 1568, None]


def test_a_legend_stands_before_the_question_and_nothing_else_changes():
    asked = {"style": Style.COD, "question": "Why?", "options": ("a", "b"), "images": ["first", "second"]}
    system, user = messages(**asked, legend="Image 1: overview of a slide.")
    plain = messages(**asked)
    assert system == plain[0]
    assert user["content"][:2] == plain[1]["content"][:2]
    assert user["content"][2]["text"] == "Image 1: overview of a slide. Why? A. a B. b"


def test_an_answer_is_read_with_its_reasoning_and_its_choice():
    parsed = parse(
        "<think> Brown. </think>\n<answer> B. Immunohistochemistry with DAB </answer>", Finish.STOP, STAINS
    )
    assert parsed.outcome is ReadingOutcome.ANSWERED
    assert parsed.reasoning == "Brown."
    assert parsed.answer == "B. Immunohistochemistry with DAB"
    assert parsed.choice == "B"


def test_the_last_complete_answer_counts():
    text = "<think>x</think><answer>A</answer> wait <answer>C</answer><answer>B"
    assert parse(text, Finish.STOP, STAINS).choice == "C"


@pytest.mark.parametrize("finish", CUT_OFF)
@pytest.mark.parametrize(
    "text", ["<think>Brown.</think><answer>B</answer>", "<think>Brown.</think><answer>B. Imm", ""]
)
def test_a_cut_answer_is_never_guessed(finish, text):
    parsed = parse(text, finish, STAINS)
    assert (parsed.outcome, parsed.answer, parsed.choice) == (CUT_OFF[finish], "", None)
    assert parsed.reasoning == ("Brown." if text else "")


@pytest.mark.parametrize(
    "text",
    ["", "B", "Brown, so B.", "<answer></answer>", "<answer> \n</answer>", "<think>x</think><answer>B"],
)
def test_text_without_a_complete_answer_is_unparsed(text):
    parsed = parse(text, Finish.STOP, STAINS)
    assert (parsed.outcome, parsed.answer, parsed.choice) == (ReadingOutcome.UNPARSED, "", None)


def test_what_was_written_outside_of_the_format_is_kept_as_reasoning():
    assert parse("It is brown.", Finish.STOP, STAINS).reasoning == "It is brown."
    assert parse("<think>Nuclei are bl", Finish.LENGTH, STAINS).reasoning == "Nuclei are bl"


@pytest.mark.parametrize(
    "answer",
    [
        "B", "b", "B.", "(B)", "B)", "B:", "Option B", " B ", "B. Immunohistochemistry with DAB",
        "B: Immunohistochemistry with DAB.", "(B) immunohistochemistry  with dab", "B - Immunohistochemistry with DAB",
        "B Immunohistochemistry with DAB", "Immunohistochemistry with DAB", "immunohistochemistry with DAB.",
    ],
)  # fmt: skip
def test_an_answer_that_names_one_option_chooses_it(answer):
    assert choice(answer, STAINS) == "B"


@pytest.mark.parametrize(
    "answer",
    [
        "", "D", "Z", "Brown", "A or B", "A/B", "A, B", "AB", "B. Hematoxylin and eosin", "B. Something else",
        "B. not Immunohistochemistry with DAB", "Both", "A tissue with DAB", "B's", "1", "No",
    ],
)  # fmt: skip
def test_an_answer_that_names_none_or_two_chooses_nothing(answer):
    assert choice(answer, STAINS) is None


def test_an_article_is_not_the_letter_of_an_option():
    assert choice("A granuloma", ("Fibrosis", "Granuloma")) is None
    assert choice("A granuloma", ("Fibrosis", "A granuloma")) == "B"


def test_options_that_are_letters_themselves_choose_only_without_contradiction():
    assert choice("A", ("A", "B", "AB", "O")) == "A"
    assert choice("A", ("O", "A")) is None


def test_an_open_question_has_no_choice():
    assert parse("<answer>B</answer>", Finish.STOP, ()).choice is None


@given(tagged, st.sampled_from(Finish), st.sampled_from([(), STAINS]))
def test_any_text_has_an_outcome_and_an_answer_only_if_answered(text, finish, offered):
    parsed = parse(text, finish, offered)
    assert (parsed.outcome is ReadingOutcome.ANSWERED) == bool(parsed.answer)
    assert parsed.outcome is not ReadingOutcome.ANSWERED or finish is Finish.STOP
    assert parsed.choice is None or (parsed.answer and parsed.choice in OPTION_LETTERS[: len(offered)])


@given(prose, prose)
def test_reasoning_and_answer_come_back_as_they_were_written(reasoning, answer):
    parsed = parse(f"<think>{reasoning}</think><answer>{answer}</answer>", Finish.STOP, ())
    assert (parsed.reasoning, parsed.answer) == (reasoning.strip(), answer.strip())


@given(options, st.data())
def test_letter_text_and_both_choose_the_same_option(offered, data):
    index = data.draw(st.integers(0, len(offered) - 1))
    letter, text = OPTION_LETTERS[index], offered[index]
    assert {
        choice(answer, offered) for answer in (letter, text, f"{letter}. {text}", f"({letter}) {text}")
    } == {letter}


@given(options, st.data())
def test_the_letter_of_one_option_with_the_text_of_another_chooses_nothing(offered, data):
    one, other = data.draw(st.permutations(range(len(offered))))[:2]
    assert choice(f"{OPTION_LETTERS[one]}. {offered[other]}", offered) is None


@given(prose, st.lists(prose, min_size=2, max_size=26))
def test_a_choice_is_always_one_of_the_letters_offered(answer, offered):
    assert choice(answer, offered) in {None, *OPTION_LETTERS[: len(offered)]}
