"""What an evaluation of the demo reasoner counts, and how it prints it."""

from __future__ import annotations

import json

import pytest

from worker.engine.models.demo.figures import Scored, accuracy, confusion, of_photographs, of_tiles
from worker.engine.models.demo.questions import Form
from worker.engine.models.demo.tables import as_text
from worker.engine.models.demo.tiles import Stain
from worker.jobs.request import Style


def scored(  # noqa: PLR0917  short rows in the tests below
    stain=Stain.HE, named=None, right=True, form=Form.OPEN, style=Style.COT, picture="", variant=""
):
    return Scored(
        stain=stain,
        form=form,
        style=style,
        named=named or stain.value,
        right=right,
        picture=picture,
        variant=variant,
    )


@pytest.fixture
def tiles():
    return [
        *[scored() for _ in range(3)],
        scored(Stain.DAB, Stain.OTHER.value, right=False, form=Form.TWO),
    ]


def test_accuracy_is_the_share_of_right_answers(tiles):
    assert accuracy(tiles) == 0.75
    assert accuracy([]) is None


def test_the_right_stain_under_the_wrong_letter_is_wrong():
    assert accuracy([scored(right=False, form=Form.FOUR)]) == 0


def test_the_confusion_matrix_says_what_was_taken_for_what(tiles):
    matrix = confusion(tiles)
    assert matrix[Stain.HE.value][Stain.HE.value] == 3
    assert matrix[Stain.DAB.value] == {**dict.fromkeys(matrix[Stain.DAB.value], 0), Stain.OTHER.value: 1}


def test_the_figures_are_split_by_form_style_and_stain(tiles):
    figures = of_tiles(tiles)
    assert figures["by_form"] == {"open": 1.0, "2 options": 0.0, "3 options": None, "4 options": None}
    assert figures["by_style"] == {"cot": 0.75, "cod": None}
    assert figures["by_stain"]["Immunohistochemistry with DAB"] == 0.0


def test_a_photograph_says_on_which_variant_it_was_wrong():
    wrong = scored(right=False, named="No tissue", picture="a.png", variant="x 0.25")
    figures = of_photographs([scored(picture="a.png", variant="whole"), wrong])
    assert figures["pictures"]["a.png"] == {
        "stain": "Hematoxylin and eosin",
        "questions": 2,
        "right": 1,
        "wrong_on": ["x 0.25: No tissue"],
    }


def test_the_figures_are_json_and_every_number_is_in_the_tables(tiles):
    photographs = of_photographs([scored(picture="a.png", variant="whole")])
    figures = json.loads(json.dumps({"tiles": of_tiles(tiles), "photographs": photographs}))
    text = as_text(figures)
    for part in ("75.0%", "of 4 questions", "true, then named", "a.png", "1/1"):
        assert part in text


def test_no_questions_are_no_figures():
    assert of_tiles([])["accuracy"] is None
    assert as_text({"tiles": of_tiles([])}) == ""
