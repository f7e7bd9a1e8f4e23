"""Questions: what the demo reasoner is asked about a tile, in many wordings, and what it should reply.

In: a random generator and the stain that a tile has. Out: an `Exchange`: style, question, options and the
reply word for word. It knows no pixels and no tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from worker.engine.models.demo.tiles import Stain
from worker.jobs.request import OPTION_LETTERS, Style

Rng = np.random.Generator


class Form(StrEnum):
    """How a question is put: with so many options, or with none."""

    OPEN = "open"
    TWO = "2 options"
    THREE = "3 options"
    FOUR = "4 options"


_COUNTS: Final = {Form.OPEN: 0, Form.TWO: 2, Form.THREE: 3, Form.FOUR: 4}

_THINGS: Final = (
    "this image", "this tile", "this picture", "this field", "this slide", "this section", "this sample",
    "this specimen", "this photograph", "this micrograph", "this patch", "this histology image", "the image",
    "the tile", "the slide", "the section", "the tissue", "the photograph", "the field of view",
)  # fmt: skip

_WORDINGS: Final = (
    "Which stain is shown?", "Which stain is shown in {thing}?", "What stain is shown?",
    "What stain is this?", "What stain was used?", "What stain was used on {thing}?",
    "Which stain was used for {thing}?", "Which staining is this?",
    "Which staining method is shown in {thing}?", "Identify the stain.", "Identify the stain of {thing}.",
    "Identify the staining method used in {thing}.", "Name the stain.", "Name the stain of {thing}.",
    "How was {thing} stained?", "How is {thing} stained?", "What is the stain of {thing}?",
    "What is the stain?", "Which stain does {thing} show?", "Which of the following stains is shown?",
    "Which of these stains was used on {thing}?", "What kind of stain is this?",
    "What type of staining is seen in {thing}?", "Please name the staining.",
    "Determine the stain used in {thing}.", "With which stain was {thing} prepared?", "Stain?",
    "Which stain?", "Can you tell which stain {thing} has?", "Which histological stain is it?",
    "Is {thing} stained, and how?", "What staining technique was applied to {thing}?",
    "Select the stain of {thing}.", "Choose the stain that {thing} shows.",
    "Which best describes the staining of {thing}?", "Tell me the stain of {thing}.",
    "State the stain seen in {thing}.", "What is {thing} stained with?",
)  # fmt: skip

_BEFORE: Final = (
    "Look at {thing}.", "This is a pathology image.", "You see one field of a slide.", "Stain check.",
    "Quality control:", "Question:", "Please answer.", "A slide came from the scanner.", "Routine case.",
    "Slide label is missing.", "Before we go on:", "For the report:", "A colleague asks:",
)  # fmt: skip

_AFTER: Final = (
    "Choose one.", "Pick one option.", "Answer with one option.", "Please choose the best answer.",
    "Options:", "Only one is right.", "Select the correct option.",
)  # fmt: skip

_SYLLABLES: Final = (
    "ka",
    "lo",
    "mi",
    "ter",
    "an",
    "is",
    "ve",
    "ro",
    "du",
    "pen",
    "sta",
    "col",
    "on",
    "der",
    "m",
    "s",
)

_SEEN: Final = {
    Stain.HE: (
        "The nuclei are blue to purple. Cytoplasm and fibres are pink.",
        "Purple nuclei. Pink stroma.",
    ),
    Stain.DAB: (
        "A brown chromogen marks parts of the tissue. The counterstain is pale blue.",
        "Brown chromogen. Pale blue counterstain.",
    ),
    Stain.NONE: (
        "The field is bright and empty. No cells and no fibres are seen.",
        "Bright field. No cells.",
    ),
    Stain.OTHER: (
        "The colours are not pink and purple. They are not brown and pale blue either.",
        "Unusual colours. Not brown, not pink.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One question and the reply that is right."""

    style: Style
    form: Form
    question: str
    options: tuple[str, ...]
    answer: str
    #: the whole reply, reasoning and answer in their tags
    reply: str


def ask(rng: Rng, stain: Stain, form: Form, style: Style) -> Exchange:
    """A question in some wording; the true stain is always among the options."""
    options = _options(rng, stain, _COUNTS[form])
    answer = stain.value
    if options:
        answer = f"{OPTION_LETTERS[options.index(stain.value)]}. {stain.value}"
    return Exchange(
        style=style,
        form=form,
        question=_question(rng, with_options=bool(options)),
        options=options,
        answer=answer,
        reply=f"<think> {reasoning(stain, style)} </think><answer> {answer} </answer>",
    )


def reasoning(stain: Stain, style: Style) -> str:
    """What is seen, then what it means: sentences as a chain of thought, a few words as a draft."""
    sentences, draft = _SEEN[stain]
    if style is Style.COD:
        return f"{draft} {stain.value}."
    return f"I look at the colours of the tile. {sentences} Therefore the answer is {stain.value}."


def _options(rng: Rng, stain: Stain, count: int) -> tuple[str, ...]:
    if not count:
        return ()
    others = [each.value for each in Stain if each is not stain]
    chosen = [stain.value, *rng.permutation(others)[: count - 1]]
    return tuple(str(option) for option in rng.permutation(chosen))


def _question(rng: Rng, *, with_options: bool) -> str:
    parts = [_one_of(rng, _WORDINGS)]
    if rng.random() < 0.25:
        parts.insert(0, _one_of(rng, _BEFORE))
    if rng.random() < 0.12:
        parts.insert(int(rng.integers(len(parts) + 1)), _unknown_words(rng))
    if with_options and rng.random() < 0.2:
        parts.append(_one_of(rng, _AFTER))
    text = " ".join(parts).format(thing=_one_of(rng, _THINGS))
    return text.lower() if rng.random() < 0.05 else text


def _unknown_words(rng: Rng) -> str:
    """A sentence of words that mean nothing, so that words never met in training change nothing."""
    words = ("".join(rng.choice(_SYLLABLES, int(rng.integers(1, 4)))) for _ in range(int(rng.integers(1, 5))))
    return f"{' '.join(words).capitalize()}."


def _one_of(rng: Rng, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
