"""Triage: what an answer means for a case's place in the line.

In: the question as the site's protocol asks it, a reading, the lab's order. Out: a triage class; the priority
that results from it, which is the lab's own or a higher one. It knows no channel and no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from worker.jobs.order import Order, Question, TriageClass, raised
from worker.jobs.reading import Reading, ReadingOutcome
from worker.jobs.request import OPTION_LETTERS, Priority

#: "B. text", "B) text", "(B) text", "B: text": the letter that the prompt gave an option
_LETTER: Final = re.compile(r"^(?:\([A-Za-z]\)|[A-Za-z][.):])\s+")


def judge(question: Question, reading: Reading) -> TriageClass:
    """What the protocol says of this answer; nothing, where there is no answer or it says nothing of it."""
    if reading.outcome is not ReadingOutcome.ANSWERED:
        return TriageClass.NOTHING
    return _class(looked_up(question.triage, question, reading) or TriageClass.NOTHING)


def looked_up(table: Mapping[str, str], question: Question, reading: Reading) -> str | None:
    """What a table of the protocol (answer -> something) has under this answer."""
    plain = {_plain(answer): meaning for answer, meaning in table.items()}
    return next((plain[name] for name in _names(question, reading) if name in plain), None)


def priority_after(order: Order, question: Question, reading: Reading) -> Priority:
    """The lab's own priority, raised by what the answer means, never lowered."""
    return raised(order.priority, judge(question, reading))


def _names(question: Question, reading: Reading) -> Iterator[str]:
    """The ways to look an answer up: as it stands, without its letter, as the option that it chose."""
    yield _plain(reading.answer)
    yield _plain(_LETTER.sub("", reading.answer.strip()))
    place = OPTION_LETTERS.find(reading.choice) if reading.choice else -1
    if 0 <= place < len(question.options):
        yield _plain(question.options[place])


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(" .").casefold()


def _class(meaning: str) -> TriageClass:
    """A class of a protocol older or newer than this program changes nothing: the lab's order stands."""
    try:
        return TriageClass(meaning)
    except ValueError:
        return TriageClass.NOTHING
