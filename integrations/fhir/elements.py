"""Elements: what stands in a resource, whatever stands there.

In: JSON of somebody else. Out: text, objects, lists; empty where the element is missing or of another kind.
Nothing here raises, and nothing knows what a resource is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from integrations.fhir.terms import IDENTIFIER_TYPE, SHORT
from worker.jobs.order import Code

Element = Mapping[str, Any]

_UNWRITABLE: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def writable(value: str) -> str:
    """Without what a FHIR string may not have, and no database takes: control characters, lone surrogates."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", value).strip()


def text(element: Element, name: str) -> str:
    value = element.get(name)
    return writable(value) if isinstance(value, str) else ""


def texts(element: Element, name: str) -> list[str]:
    values = element.get(name)
    return [writable(value) for value in values if isinstance(value, str)] if isinstance(values, list) else []


def one(element: Element, name: str) -> Element:
    value = element.get(name)
    return value if isinstance(value, dict) else {}


def each(element: Element, name: str) -> list[Element]:
    """The objects of a list; an object alone counts as a list of one."""
    value = element.get(name)
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def instant(value: str) -> datetime | None:
    """A point in time; None for a date alone, which names no point, and for what cannot be read."""
    if not _INSTANT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def codes(concept: Element) -> list[tuple[str, str]]:
    """(system, code) of every coding."""
    return [(text(coding, "system"), text(coding, "code")) for coding in each(concept, "coding")]


def code_of(concept: Element) -> Code:
    """A concept as orders have it: the first coding, one of SNOMED CT or LOINC before any other."""
    codings = sorted(each(concept, "coding"), key=lambda coding: text(coding, "system") not in SHORT)
    first = next((coding for coding in codings if text(coding, "code")), {})
    system = text(first, "system")
    return Code(
        code=text(first, "code"),
        text=text(concept, "text") or text(first, "display"),
        system=SHORT.get(system, system),
    )


def identifier(resource: Element, *types: str) -> str:
    """The value of the first identifier of one of `types` (table 0203), in their order; or ``."""
    return text(identifier_element(resource, *types), "value")


def identifier_element(resource: Element, *types: str) -> Element:
    usable = [known for known in each(resource, "identifier") if text(known, "value")]
    current = [known for known in usable if text(known, "use") != "old"]
    for wanted in types:
        for known in current:
            if (IDENTIFIER_TYPE, wanted) in codes(one(known, "type")):
                return known
    return {}


def first_identifier(resource: Element, *types: str) -> Element:
    """One of `types` where there is one, or else whichever comes first."""
    usable = (known for known in each(resource, "identifier") if text(known, "value"))
    return identifier_element(resource, *types) or next(usable, {})


def labelled(resource: Element, system: str, code: str) -> bool:
    """Whether a resource has this security label."""
    labels: Iterable[Element] = each(one(resource, "meta"), "security")
    return any((text(label, "system"), text(label, "code")) == (system, code) for label in labels)
