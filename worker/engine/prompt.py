"""Prompt: what the model is asked, and what its text means.

In: a question, its options and a style; later the text that came back and why it ended. Out: chat
messages in the form of the model card; a `Parsed` answer. It knows no model, no pixels and no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.engine.reasoner import Finish
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import OPTION_LETTERS, Style

#: Kept with every reading: the wording, the layout of the options and the parsing rules together.
PROMPT_VERSION: Final = "patho-r1/1"

_FORMAT: Final = (
    "Use the following format:<think> Your step-by-step reasoning </think>"
    "<answer> Your final answer </answer>"
)

SYSTEM_PROMPTS: Final = {
    Style.COT: f"You are a pathology expert, your task is to answer question step by step. {_FORMAT}",
    Style.COD: (
        "You are a pathology expert, your task is to think step by step, but only keep a minimum draft for "
        "each thinking step, with 5 words at most. Return the answer at the end of the response after a "
        f"separator. {_FORMAT}"
    ),
}

Message = dict[str, Any]

_ANSWER: Final = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_THINK: Final = re.compile(r"<think>(.*?)(?:</think>|<answer>|$)", re.DOTALL | re.IGNORECASE)
_TAG: Final = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
#: "B", "B.", "(B)", "B) text", "B: text", "B text": a letter on its own, and what follows it
_LETTER: Final = re.compile(
    r"^(?:option\s+)?(?:\(([A-Z])\)|([A-Z])(?![\w'’]))[.):,]?\s*(?:[-–—]\s)?\s*(.*)$",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a text says. `answer` is empty unless `outcome` is `answered`."""

    reasoning: str
    answer: str
    #: the letter of the one offered option that the answer names, else None
    choice: str | None
    outcome: ReadingOutcome


def user_text(question: str, options: Sequence[str], legend: str = "") -> str:
    """The question as the model card writes it: `question A. first B. second`; a legend stands before it."""
    lettered = (f"{letter}. {option}" for letter, option in zip(OPTION_LETTERS, options, strict=False))
    return " ".join([*([legend] if legend else []), question, *lettered])


def messages(
    *,
    style: Style,
    question: str,
    options: Sequence[str],
    images: Sequence[Any],
    limits: Sequence[Mapping[str, int]] = (),
    legend: str = "",
) -> list[Message]:
    """System prompt, then one user turn: the images in order, then the text.

    `limits` are `min_pixels` and `max_pixels` of each image, as `qwen_vl_utils` takes them.
    """
    pictures: list[dict[str, Any]] = [
        {"type": "image", "image": image, **(limits[number] if limits else {})}
        for number, image in enumerate(images)
    ]
    return [
        {"role": "system", "content": SYSTEM_PROMPTS[style]},
        {
            "role": "user",
            "content": [*pictures, {"type": "text", "text": user_text(question, options, legend)}],
        },
    ]


def parse(text: str, finish: Finish, options: Sequence[str]) -> Parsed:
    """The last complete answer of a text that ended by itself; anything else is an outcome, never a guess.

    What was written before the answer, or before the cut, is kept as reasoning.
    """
    found = list(_ANSWER.finditer(text))
    answer = found[-1].group(1).strip() if found else ""
    if finish is not Finish.STOP or not answer:
        return Parsed(reasoning=_reasoning(text), answer="", choice=None, outcome=_WITHOUT_ANSWER[finish])
    return Parsed(
        reasoning=_reasoning(text[: found[-1].start()]),
        answer=answer,
        choice=choice(answer, options),
        outcome=ReadingOutcome.ANSWERED,
    )


def choice(answer: str, options: Sequence[str]) -> str | None:
    """The letter of the one option that an answer names, by letter, by text or by both in agreement."""
    named = {_by_text(answer, options), _by_letter(answer, options)} - {None}
    return named.pop() if len(named) == 1 else None


def _by_text(answer: str, options: Sequence[str]) -> str | None:
    lettered = zip(OPTION_LETTERS, options, strict=False)
    same = [letter for letter, option in lettered if _plain(option) == _plain(answer)]
    return same[0] if len(same) == 1 else None


def _by_letter(answer: str, options: Sequence[str]) -> str | None:
    """A leading letter; text that follows it must be the text of the same option, or it is no answer."""
    match = _LETTER.match(answer.strip())
    letter = (match[1] or match[2]).upper() if match else ""
    if match is None or letter not in OPTION_LETTERS[: len(options)]:
        return None
    rest = _plain(match[3])
    return letter if not rest or rest == _plain(options[OPTION_LETTERS.index(letter)]) else None


_WITHOUT_ANSWER: Final = {
    Finish.STOP: ReadingOutcome.UNPARSED,
    Finish.LENGTH: ReadingOutcome.TRUNCATED,
    Finish.DEADLINE: ReadingOutcome.DEADLINE,
    Finish.CANCELLED: ReadingOutcome.CANCELLED,
}


def _reasoning(text: str) -> str:
    thoughts = [part.strip() for part in _THINK.findall(text)]
    kept = "\n".join(part for part in thoughts if part)
    return kept or _TAG.sub(" ", text).strip()


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .").casefold()
