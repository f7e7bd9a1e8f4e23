"""What several keys of a rules file must agree on.

In: the values of a document, of any shape. Out: places and reasons. Each check looks past what it cannot
make sense of, so that all problems are found in one reading; the shape itself is `schema`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Final

from integrations.rules.document import Place

Finding = tuple[Place, str]

NO_VALUE: Final = "has no value"
_OF_HL7: Final = ("charset", "profile", "acknowledgement", "time_zone", "fields", "triggers", "scan_done")


def disagreements(tree: Any) -> Iterator[Finding]:
    yield from _empty((), tree)
    protocols, senders, rules = _map(tree, "protocols"), _items(tree, "senders"), _items(tree, "rules")
    for name, protocol in protocols.items():
        yield from _in_protocol(("protocols", name), protocol)
    for number, sender in enumerate(senders):
        yield from _in_sender(("senders", number), sender)
    yield from _same_names(("senders",), senders)
    yield from _same_names(("rules",), rules)
    yield from _never_reached(rules)
    for number, rule in enumerate(rules):
        yield from _in_rule(("rules", number), rule, list(protocols))


def _empty(place: Place, value: Any) -> Iterator[Finding]:
    """A key without a value would else read as one that was left out, which matches everything."""
    inside: Iterable[tuple[str | int, Any]] = _map_of(value).items()
    for key, part in enumerate(value) if isinstance(value, list) else inside:
        if part is None:
            yield (*place, key), NO_VALUE
        else:
            yield from _empty((*place, key), part)


def _in_protocol(place: Place, protocol: Any) -> Iterator[Finding]:
    questions = _items(protocol, "questions")
    yield from _same_names((*place, "questions"), questions)
    for number, question in enumerate(questions):
        options = [_plain(option) for option in _items(question, "options") if isinstance(option, str)]
        for key in ("triage", "final"):
            inside = (*place, "questions", number, key)
            yield from _answers(inside, _map(question, key), options)


def _answers(place: Place, answers: dict[str, Any], options: list[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for answer in answers:
        if not options:
            yield (*place, answer), "the question has no options, so no answer can be known in advance"
        elif _plain(answer) not in options:
            yield (*place, answer), f"is not among the options{_meant(_plain(answer), options)}"
        elif _plain(answer) in seen:
            yield (*place, answer), "stands for an option that was given already"
        seen.add(_plain(answer))


def _in_sender(place: Place, sender: Any) -> Iterator[Finding]:
    channel = _map_of(sender).get("channel")
    if isinstance(channel, str) and _plain(channel) != "hl7":
        for key in _OF_HL7:
            if key in sender:
                yield (*place, key), "is for senders of the channel hl7"


def _in_rule(place: Place, rule: Any, protocols: list[str]) -> Iterator[Finding]:
    for key in ("ask", "tell"):
        seen: set[str] = set()
        for position, name in _texts(rule, key):
            inside = (*place, key, *position)
            if name in seen:
                yield inside, "is given twice"
            elif key == "ask" and name not in protocols:
                yield inside, f"no protocol has this name{_meant(name, protocols)}"
            seen.add(name)
    mode = _map_of(rule).get("mode")
    if isinstance(mode, str) and _plain(mode) == "live" and "tell" not in _map_of(rule):
        yield (*place, "mode"), "a live rule must say whom to `tell`"


def _same_names(place: Place, parts: Iterable[Any]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for number, part in enumerate(parts):
        name = _map_of(part).get("name")
        if not isinstance(name, str):
            continue
        earlier = first.setdefault(_plain(name), number)
        if earlier != number:
            yield (*place, number, "name"), f"is the name of {place[-1]}[{earlier}] too"


def _never_reached(rules: list[Any]) -> Iterator[Finding]:
    """A rule without conditions ends the list, unless it lets the next ones have their turn."""
    for number, rule in enumerate(rules[:-1]):
        fields = _map_of(rule)
        stops = _plain(str(fields.get("stop", "true"))) in ("true", "yes", "on", "1", "t", "y")
        if fields and not fields.get("match") and stops:
            yield ("rules", number + 1), f"is never reached: rules[{number}] matches everything and stops"
            return


def _meant(word: str, known: list[str]) -> str:
    near = get_close_matches(word[:200], known, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _map_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _map(value: Any, key: str) -> dict[str, Any]:
    return _map_of(_map_of(value).get(key))


def _items(value: Any, key: str) -> list[Any]:
    found = _map_of(value).get(key)
    return found if isinstance(found, list) else []


def _texts(value: Any, key: str) -> Iterator[tuple[Place, str]]:
    """The text under a key, or each text of its list."""
    found = _map_of(value).get(key)
    if isinstance(found, str):
        yield (), found.strip()
    for number, text in enumerate(found if isinstance(found, list) else []):
        if isinstance(text, str):
            yield (number,), text.strip()
