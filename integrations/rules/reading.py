"""Reading a rules file: all of it or nothing.

In: YAML text and the name to call it by. Out: Rules, or RulesInvalid with every problem and its line. It
opens the file it is told to; it does not know which one a site has set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from integrations.rules.checking import NO_VALUE, disagreements
from integrations.rules.document import Document, Place, Problem, Unreadable, read_document
from integrations.rules.matching import Condition, Protocol, Rule, Rules, SenderRules
from integrations.rules.schema import (
    MatchPart,
    ProtocolPart,
    QuestionPart,
    RulePart,
    RulesFile,
    SenderPart,
)
from worker.errors import RulesInvalid
from worker.jobs.order import Question

#: UTF-8 takes four bytes for a character at most; document.MOST_CHARACTERS is the limit that is told
_MOST_BYTES: Final = 4 * 128 * 1024 + 4
_MOST_PROBLEMS: Final = 100

_PARTS: Final[dict[str, type[BaseModel]]] = {
    "protocols": ProtocolPart,
    "questions": QuestionPart,
    "senders": SenderPart,
    "rules": RulePart,
    "match": MatchPart,
}
_KIND: Final = {
    "string_type": "must be text",
    "model_type": "must be a mapping: `key: value`",
    "dict_type": "must be a mapping: `key: value`",
    "tuple_type": "must be a list",
    "int_parsing": "must be a whole number",
    "bool_parsing": "must be true or false",
    "too_long": "has too many entries",
}

#: what a sender's channel has against its rules: the keys that lead there, and the reason
Objections = Callable[[SenderRules], Iterable[tuple[tuple[str, ...], str]]]


def _none(sender: SenderRules) -> Iterable[tuple[tuple[str, ...], str]]:
    del sender
    return ()


def read_rules(text: str, name: str, *, objections: Objections = _none) -> Rules:
    """`objections` is asked of every sender once the shape is right. Raises RulesInvalid."""
    try:
        document = read_document(text)
    except Unreadable as error:
        raise RulesInvalid(_told(error.problems, name)) from None
    problems = [_problem(document, place, reason) for place, reason in disagreements(document.tree)]
    try:
        parsed = RulesFile.model_validate({} if document.tree is None else document.tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        problems += (_problem(document, *_shape(document, each)) for each in found)
        raise RulesInvalid(_told(problems, name)) from None
    for number, sender in enumerate(_senders(parsed)):
        for keys, reason in objections(sender):
            problems.append(_problem(document, ("senders", number, *keys), reason))
    if problems:
        raise RulesInvalid(_told(problems, name))
    return _rules(parsed, name)


def open_rules(path: Path, *, objections: Objections = _none) -> Rules:
    """Raises RulesInvalid, for a file that cannot be opened too."""
    try:
        with path.open("rb") as file:
            body = file.read(_MOST_BYTES + 1)
        return read_rules(body.decode("utf-8-sig"), path.name, objections=objections)
    except OSError as error:
        raise RulesInvalid((f"{path.name}: cannot be opened: {error.strerror}",)) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RulesInvalid((f"{path.name}:{line}: is not UTF-8",)) from None


def embedded_rules() -> str:
    """The text of a rules file for a site that has none: which stain, asked of every slide, told to `lis`."""
    return files("integrations.rules").joinpath("embedded.yaml").read_text("utf-8")


def _told(problems: Iterable[Problem], name: str) -> tuple[str, ...]:
    """Sentences, by line."""
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.line)
    told = [_sentence(problem, name) for problem in ordered[:_MOST_PROBLEMS]]
    more = len(ordered) - len(told)
    return (*told, f"{name}: and {more} more problems") if more else tuple(told)


def _sentence(problem: Problem, name: str) -> str:
    at = f"{name}:{problem.line}" if problem.line else name
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.place)
    words = (at, " ".join(path.removeprefix(".").split())[:200], problem.reason)
    return ": ".join(word for word in words if word)


def _problem(document: Document, place: Place, reason: str) -> Problem:
    return Problem(line=document.line(place), place=place, reason=reason)


def _shape(document: Document, error: Mapping[str, Any]) -> tuple[Place, str]:
    """Pydantic's words about a place of its own become ours about a place in the file."""
    kind, place = str(error["type"]), _in_file(document, tuple(error["loc"]))
    if kind == "extra_forbidden":
        return place, _unknown(place)
    if kind == "missing":
        key = error["loc"][-1]
        return (
            (place, "must be x, y, width, height") if isinstance(key, int) else ((*place, key), "is missing")
        )
    if _value(document.tree, place) is None:
        return place, NO_VALUE
    told = _KIND.get(kind) or str(error["msg"]).removeprefix("Value error, ")
    return place, told.replace("Input should", "must").replace("String should", "must")


def _in_file(document: Document, location: Place) -> Place:
    """Without what the schema adds: `[key]` behind a key, the position in a list that was one word."""
    return next(location[:n] for n in range(len(location), -1, -1) if location[:n] in document.lines or not n)


def _unknown(place: Place) -> str:
    """The nearest key that exists, else all of them."""
    names = [part for part in place[:-1] if isinstance(part, str)]
    part = next((_PARTS[name] for name in reversed(names) if name in _PARTS), RulesFile)
    known = sorted(part.model_fields)
    near = get_close_matches(str(place[-1])[:200], known, n=1)
    return f"is no key; did you mean `{near[0]}`?" if near else f"is no key; there are {', '.join(known)}"


def _value(tree: Any, place: Place) -> Any:
    for part in place:
        tree = tree[part]
    return tree


def _rules(parsed: RulesFile, name: str) -> Rules:
    canonical = json.dumps(
        parsed.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    protocols = {name: _protocol(name, part) for name, part in parsed.protocols.items()}
    return Rules(
        source=name,
        digest="sha256:" + hashlib.sha256(canonical.encode()).hexdigest(),
        protocols=tuple(protocols.values()),
        senders=_senders(parsed),
        rules=tuple(_rule(part, protocols) for part in parsed.rules),
    )


def _senders(parsed: RulesFile) -> tuple[SenderRules, ...]:
    return tuple(SenderRules(**dict(part)) for part in parsed.senders)


def _protocol(name: str, part: ProtocolPart) -> Protocol:
    questions = tuple(_question(name, part.version, question) for question in part.questions)
    return Protocol(name=name, version=part.version, questions=questions)


def _question(protocol: str, version: int, part: QuestionPart) -> Question:
    return Question(
        protocol=protocol, version=version, name=part.name, text=part.question, options=part.options,
        style=part.style.value, regions=part.regions,
        triage={answer.casefold(): meaning.value for answer, meaning in part.triage.items()},
        final={answer.casefold(): pattern for answer, pattern in part.final.items()},
    )  # fmt: skip


def _rule(part: RulePart, protocols: Mapping[str, Protocol]) -> Rule:
    return Rule(
        name=part.name, conditions=tuple(_conditions(part.match)),
        ask=tuple(protocols[name] for name in part.ask), mode=part.mode, priority=part.priority,
        style=part.style.value if part.style else None, regions=part.regions, tell=part.tell or (),
        stop=part.stop,
    )  # fmt: skip


def _conditions(match: MatchPart) -> Iterator[Condition]:
    for key in MatchPart.model_fields:
        values: tuple[str, ...] | None = getattr(match, key)
        if values is not None:
            yield Condition(key=key, values=tuple(str(value) for value in values))
