"""Matching: an order meets a site's rules.

In: rules, a sender or an order. Out: what is set for the sender; a plan with the questions to ask and, for
each rule, why it did or did not match. A plan never has a priority below the order's own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from worker.jobs.order import Channel, Code, Mode, Order, Question, Sender
from worker.jobs.request import Priority

Paths = dict[str, tuple[str, ...]]

#: conditions on a coded element: a value may stand for the code or for its text
CODED: Final[dict[str, Callable[[Order], tuple[Code, ...]]]] = {
    "procedure": lambda order: (order.procedure,),
    "specimen_type": lambda order: (order.specimen_type,),
    "stain": lambda order: order.stains,
    "body_site": lambda order: (order.body_site,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderRules:
    """How one sender's messages are to be read and answered; the defaults are for senders nobody named."""

    name: str = ""
    channel: Channel | None = None
    #: patterns, as everything that is matched
    application: str = "*"
    facility: str = "*"
    #: HL7 table 0211; where a message names none
    charset: str = "ASCII"
    #: name of a profile of the channel
    profile: str = ""
    #: `application` or `enhanced`
    acknowledgement: str = "application"
    #: accession numbers are unique in it
    domain: str = ""
    #: IANA's name; of times that come without one
    time_zone: str = "UTC"
    #: for the HL7 room alone: where things stand in a message, and what its codes mean
    fields: Paths = field(default_factory=dict)
    triggers: Paths = field(default_factory=dict)
    scan_done: Paths = field(default_factory=dict)

    def fits(self, sender: Sender) -> bool:
        return (
            self.channel is sender.channel
            and _matches((self.application,), (sender.application,), empty=True)
            and _matches((self.facility,), (sender.facility,), empty=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`key` of an order must be one of `values`."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    name: str
    version: int
    #: as the protocol has them: no rule has set mode, priority and endpoints yet
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str
    conditions: tuple[Condition, ...]
    ask: tuple[Protocol, ...]
    mode: Mode
    #: at least this; None leaves the order's own
    priority: Priority | None
    #: instead of the questions' own; None leaves them
    style: str | None
    regions: tuple[tuple[int, int, int, int], ...] | None
    tell: tuple[str, ...]
    #: whether later rules are not looked at once this one has matched
    stop: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one rule. `reason` quotes the rule, never the order."""

    rule: str
    matched: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    questions: tuple[Question, ...]
    #: one for each rule, in their order
    verdicts: tuple[Verdict, ...]

    @property
    def rule(self) -> str:
        """Name of the first rule that matched; empty when none did."""
        return next((verdict.rule for verdict in self.verdicts if verdict.matched), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    #: name of the file they come from
    source: str
    #: sha256 of what they say, whatever the layout of the file
    digest: str
    protocols: tuple[Protocol, ...]
    senders: tuple[SenderRules, ...]
    rules: tuple[Rule, ...]

    def sender(self, sender: Sender) -> SenderRules:
        """The first that fits."""
        return next((known for known in self.senders if known.fits(sender)), SenderRules())

    def plan(self, order: Order) -> Plan:
        """What to ask about the order's image, whatever the verb. A question two rules ask is the first's."""
        questions: dict[tuple[str, str], Question] = {}
        verdicts: list[Verdict] = []
        ended = ""
        for rule in self.rules:
            misses = [f"`{ended}` matched before and stops"] if ended else list(self._misses(rule, order))
            verdicts.append(
                Verdict(rule=rule.name, matched=not misses, reason="; ".join(misses) or _fit(rule))
            )
            if misses:
                continue
            for question in _questions(rule, order):
                questions.setdefault((question.protocol, question.name), question)
            ended = rule.name if rule.stop else ""
        return Plan(questions=tuple(questions.values()), verdicts=tuple(verdicts))

    def _misses(self, rule: Rule, order: Order) -> Iterator[str]:
        for condition in rule.conditions:
            found = self._values(order, condition.key)
            if not any(found):
                yield f"the order names no {label(condition.key)}"
            elif not _matches(condition.values, found):
                yield f"{label(condition.key)} is not {either(condition.values)}"

    def _values(self, order: Order, key: str) -> tuple[str, ...]:
        if key == "sender":
            return (self.sender(order.sender).name, order.sender.application)
        if key == "facility":
            return (order.sender.facility,)
        if key == "priority":
            return (order.priority.value,)
        return tuple(value for code in CODED[key](order) for value in (code.code, code.text))


def label(key: str) -> str:
    return key.replace("_", " ")


def either(values: tuple[str, ...]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _fit(rule: Rule) -> str:
    named = (f"{label(each.key)} is {either(each.values)}" for each in rule.conditions)
    return "; ".join(named) or "matches every order"


def _questions(rule: Rule, order: Order) -> Iterator[Question]:
    urgent = min(order.priority, rule.priority or order.priority, key=lambda priority: priority.level)
    for protocol in rule.ask:
        for question in protocol.questions:
            yield replace(
                question,
                style=rule.style or question.style,
                regions=question.regions if rule.regions is None else rule.regions,
                priority=urgent,
                # A test message must not reach a live endpoint, whatever the rule says.
                tell=() if order.is_test else rule.tell,
                mode=Mode.SHADOW if order.is_test else rule.mode,
                rule=rule.name,
            )


def _matches(patterns: tuple[str, ...], values: tuple[str, ...], *, empty: bool = False) -> bool:
    plain = [_plain(value) for value in values if value or empty]
    return any(fnmatchcase(value, _wild(pattern)) for pattern in patterns for value in plain)


@lru_cache(maxsize=4096)
def _wild(pattern: str) -> str:
    """`*` alone is a wildcard: the other signs of fnmatch occur in codes and texts."""
    return _plain(pattern).replace("[", "[[]").replace("?", "[?]")


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()
