"""Gathering: what resources refer to is read from their server, until an order can be made of them.

In: a server, Bundles of a search or a notification, references that a notification names. Out: one Bundle
with what they lead to. The same reference is read once.

A server may hold back what it does not want to show (a Patient, say) and may ignore `_include`. What it
refuses stays missing, and `integrations.fhir.orders` says whether that matters. What it cannot answer just
now is an error: half a case is not read as a whole one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from integrations.fhir.client import FhirServer
from integrations.fhir.elements import Element, each, one, text
from integrations.fhir.resources import Resources, leads_to, local
from worker.errors import FhirRejected, FhirUnavailable

#: references and searches of one gathering; more is no case
MOST: Final = 2000
#: from what was announced over slide, block and sample to a stain: so many steps
STEPS: Final = 8

#: type -> elements whose references an order needs
NEEDED: Final = {
    "Task": ("focus",),
    "ServiceRequest": ("subject", "specimen"),
    "ImagingStudy": ("subject", "basedOn"),
    "DiagnosticReport": ("specimen", "basedOn"),
    "Specimen": ("parent",),
}
READ: Final = frozenset({"", "Patient", "ServiceRequest", "Specimen", "Substance", "Task"})
#: what refers to a request, and is searched for by it
REFERRING: Final = (("ImagingStudy", "basedon"), ("DiagnosticReport", "based-on"))

Entry = Mapping[str, Any]


def gathered(server: FhirServer, *bundles: Element, focus: Iterable[str] = ()) -> dict[str, Any]:
    """`bundles`, what `focus` names, and what all of them lead to, as one Bundle.

    Raises FhirUnavailable, TokenRefused, AddressRefused, and FhirUnreadable where a bundle is none.
    """
    known = Resources.of({"resourceType": "Bundle"}, *(_at(server.base, bundle) for bundle in bundles))
    names, asked = list(focus), set[str]()
    for _ in range(STEPS):
        names = [name for name in dict.fromkeys([*names, *_missing(known)]) if name not in asked]
        requests = [
            name for name in map(local, known.each("ServiceRequest")) if name and f"?{name}" not in asked
        ]
        asked.update(names, (f"?{name}" for name in requests))
        if not names and not requests:
            break
        if len(asked) > MOST:
            raise FhirUnavailable("too_much")
        found = [entry for name in names for entry in _read(server, name)]
        found += [entry for name in requests for entry in _referring(server, name)]
        known = Resources.of(known.bundle(), {"resourceType": "Bundle", "entry": found})
        names = []
    return known.bundle()


def _missing(known: Resources) -> Iterator[str]:
    for source, reference in _references(known):
        name = text(reference, "reference")
        if name and leads_to(reference) in READ and known.find(source, reference) is None:
            yield name


def _references(known: Resources) -> Iterator[tuple[Element, Element]]:
    for kind, elements in NEEDED.items():
        for resource in known.each(kind):
            yield from ((resource, found) for element in elements for found in each(resource, element))
    for study in known.each("ImagingStudy"):
        yield from ((study, found) for part in each(study, "series") for found in each(part, "specimen"))
    for specimen in known.each("Specimen"):
        steps = each(specimen, "processing")
        yield from ((specimen, found) for step in steps for found in each(step, "additive"))


def _read(server: FhirServer, name: str) -> list[Entry]:
    try:
        return [_entry(server.base, server.read(name))]
    except FhirRejected:
        return []


def _referring(server: FhirServer, request: str) -> list[Entry]:
    found: list[Entry] = []
    for kind, parameter in REFERRING:
        try:
            for page in server.search(kind, [(parameter, request)]):
                found += each(_at(server.base, page), "entry")
        except FhirRejected:
            continue
    return found


def _at(base: str, bundle: Element) -> Element:
    """The same Bundle, with the fullUrl that an entry may lack."""
    if not isinstance(bundle, dict):
        return bundle
    entries = [
        entry if text(entry, "fullUrl") else _entry(base, one(entry, "resource"))
        for entry in each(bundle, "entry")
    ]
    return {**bundle, "entry": entries}


def _entry(base: str, resource: Element) -> Entry:
    name = local(resource)
    return {"resource": resource} | ({"fullUrl": f"{base}/{name}"} if name else {})
