"""Explaining: what a site asks, and what its rules make of one order.

In: rules; an order and its plan. Out: JSON data, and the same as text. Nothing of the order is told but its
verb, its channel, its priority and which of its fields were filled: no identifier, no name, no free text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from integrations.rules.matching import CODED, Plan, Protocol, Rule, Rules, SenderRules, either, label
from worker.jobs.order import Mode, Order, Question, TriageClass, Verb, raised

_MEANS: Final = {
    TriageClass.STAT: "raise to stat",
    TriageClass.URGENT: "raise to urgent",
    TriageClass.FLAG: "flag for review",
    TriageClass.NOTHING: "nothing",
}


def explain(rules: Rules) -> dict[str, Any]:
    """Everything a site asks, as JSON data."""
    return {
        "source": rules.source,
        "digest": rules.digest,
        "rules": [_rule(rule) for rule in rules.rules],
        "protocols": [_protocol(protocol) for protocol in rules.protocols],
        "senders": [_sender(sender) for sender in rules.senders],
    }


def explain_text(rules: Rules) -> str:
    lines = [f"{rules.source}  {rules.digest}", ""]
    for number, rule in enumerate(rules.rules, 1):
        lines.append(f"{number}. {rule.name} ({rule.mode.value}): {sentence(rule)}")
    lines += ["", "An order that no rule matches is asked nothing."]
    for protocol in rules.protocols:
        lines += ["", f"{protocol.name} version {protocol.version}"]
        lines += [line for question in protocol.questions for line in _question_lines(question)]
    if rules.senders:
        lines += ["", "Senders, the first that fits"]
        lines += [f"  {sender.name}: {_sender_words(sender)}" for sender in rules.senders]
    return "\n".join(lines)


def sentence(rule: Rule) -> str:
    """What a rule does, in one sentence or two."""
    when = " and ".join(f"{label(each.key)} is {either(each.values)}" for each in rule.conditions)
    asked = _and([f"{protocol.name} version {protocol.version}" for protocol in rule.ask])
    urgency = f"at {rule.priority.value} priority or higher" if rule.priority else "at the lab's own priority"
    words = [
        f"when {when}, " if when else "always ",
        f"ask {asked} {urgency}",
        f", style {rule.style}" if rule.style else "",
        "" if rule.regions is None else f", of {_regions(rule.regions)}",
        f"; {_told(rule.mode, rule.tell)}.",
        "" if rule.stop else " Then go on with the next rule.",
    ]
    text = "".join(words)
    return text[0].upper() + text[1:]


def explain_plan(order: Order, plan: Plan) -> dict[str, Any]:
    """Which rule matched, why the others did not, and what would be submitted."""
    asked = order.verb is Verb.AVAILABLE
    return {
        "verb": order.verb.value,
        "channel": order.sender.channel.value,
        "test_message": order.is_test,
        "ordered_priority": order.priority.value,
        "names": _filled(order),
        "rule": plan.rule,
        "rules": [
            {"name": verdict.rule, "matched": verdict.matched, "reason": verdict.reason}
            for verdict in plan.verdicts
        ],
        # Other verbs register, cancel or re-key; the rules are asked once there is an image.
        "submitted": [_submitted(order, question) for question in plan.questions] if asked else [],
    }


def explain_plan_text(order: Order, plan: Plan) -> str:
    told = explain_plan(order, plan)
    kind = "test order" if order.is_test else "order"
    lines = [
        f"{told['channel'].upper()} {kind}: slide {told['verb']}, {told['ordered_priority']} priority.",
        f"It names {_and(told['names']) or 'nothing that rules look at'}.",
        "",
    ]
    lines += [f"  {'+' if each.matched else '-'} {each.rule}: {each.reason}" for each in plan.verdicts]
    lines += ["" if plan.verdicts else "  There are no rules."]
    if not told["submitted"]:
        why = "no rule matches" if order.verb is Verb.AVAILABLE else "no image becomes available"
        return "\n".join([*lines, f"Nothing would be submitted: {why}."])
    for number, question in enumerate(plan.questions, 1):
        asked = f"{question.protocol} version {question.version}, {question.priority.value} priority"
        lines.append(f"{number}. {question.rule} asks {asked}; {_told(question.mode, question.tell)}")
        lines += [f" {line}" for line in _question_lines(question)]
    return "\n".join(lines)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "sentence": sentence(rule),
        "match": {each.key: list(each.values) for each in rule.conditions},
        "ask": [{"protocol": protocol.name, "version": protocol.version} for protocol in rule.ask],
        "mode": rule.mode.value,
        "priority": rule.priority.value if rule.priority else "as-ordered",
        "style": rule.style,
        "regions": None if rule.regions is None else [list(box) for box in rule.regions],
        "tell": list(rule.tell),
        "stop": rule.stop,
    }


def _protocol(protocol: Protocol) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "version": protocol.version,
        "questions": [_question(question) for question in protocol.questions],
    }


def _question(question: Question) -> dict[str, Any]:
    return {
        "name": question.name,
        "question": question.text,
        "options": list(question.options),
        "style": question.style,
        "regions": [list(box) for box in question.regions],
        "triage": {option: meaning.value for option, meaning in _meanings(question)},
    }


def _submitted(order: Order, question: Question) -> dict[str, Any]:
    reported = {option: raised(order.priority, meaning).value for option, meaning in _meanings(question)}
    return {
        "rule": question.rule,
        "protocol": question.protocol,
        "version": question.version,
        **_question(question),
        "priority": question.priority.value,
        "mode": question.mode.value,
        "tell": list(question.tell),
        "reported_priority": reported,
    }


def _sender(sender: SenderRules) -> dict[str, Any]:
    return {
        "name": sender.name,
        "channel": sender.channel.value if sender.channel else "",
        "application": sender.application,
        "facility": sender.facility,
        "charset": sender.charset,
        "profile": sender.profile,
        "acknowledgement": sender.acknowledgement,
        "domain": sender.domain,
    }


def _sender_words(sender: SenderRules) -> str:
    channel = sender.channel.value if sender.channel else "any channel"
    words = [f"{channel}, application {sender.application}, facility {sender.facility}"]
    words += [f"profile {sender.profile}"] if sender.profile else []
    words += [f"accession numbers of {sender.domain}"] if sender.domain else []
    return ", ".join([*words, f"character set {sender.charset} where none is named"])


def _question_lines(question: Question) -> Iterator[str]:
    style = "step by step" if question.style == "cot" else "in a draft of few words"
    yield f"  {question.name}: {' '.join(question.text.split())} ({style}, {_regions(question.regions)})"
    meanings = _meanings(question)
    width = max((len(option) for option, _ in meanings), default=0)
    for option, meaning in meanings:
        yield f"    {option:{width}}  {_MEANS[meaning]}"
    if not meanings:
        yield "    an open question: its answer changes nothing"


def _meanings(question: Question) -> list[tuple[str, TriageClass]]:
    return [
        (option, TriageClass(question.triage.get(option.casefold(), TriageClass.NOTHING)))
        for option in question.options
    ]


def _told(mode: Mode, tell: tuple[str, ...]) -> str:
    if mode is Mode.LIVE:
        return f"tell {_and(tell)}"
    return f"tell nobody (shadow; {_and(tell)} when live)" if tell else "tell nobody (shadow)"


def _filled(order: Order) -> list[str]:
    """Keys of `match` that this order has something for."""
    filled = {"sender": bool(order.sender.application), "facility": bool(order.sender.facility)}
    for key, codes in CODED.items():
        filled[key] = any(code.code or code.text for code in codes(order))
    return [label(key) for key, found in filled.items() if found]


def _regions(regions: Sequence[Sequence[int]]) -> str:
    boxes = [f"{width} x {height} at {x}, {y}" for x, y, width, height in regions]
    return " and ".join(boxes) or "the whole image"


def _and(words: Iterable[str]) -> str:
    known = list(words)
    return " and ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)
