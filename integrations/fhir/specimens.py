"""Specimens: from a slide up to what was taken from the patient, and down again.

In: resources. Out: for one slide, what an order says of it: slide, block, stains, site. It knows nothing of
orders and their states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from integrations.fhir.elements import Element, code_of, codes, each, first_identifier, identifier, one, text
from integrations.fhir.resources import Resources, leads_to
from integrations.fhir.terms import ACCESSION, FILLER, SLIDE_CONTAINERS, SLIDE_SPECIMENS, SNOMED
from worker.jobs.order import Code

#: sample, part, block, section, and room for labs that cut finer; a circle of parents ends here too
DEPTH: Final = 8


NOTHING: Final = Code()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Glass:
    """What is known of one slide; all empty for a case whose slides are not known."""

    accession: str = ""
    slide: str = ""
    block: str = ""
    specimen_type: Code = NOTHING
    body_site: Code = NOTHING
    stains: tuple[Code, ...] = ()


def glass(resources: Resources, specimen: Element, *, imaged: bool = False) -> Glass:
    """`specimen` in the light of what it was cut from. What was `imaged` is a slide, however it is coded."""
    line = list(_line(resources, specimen))
    slide = specimen if imaged or is_slide(specimen) else {}
    sites = (code_of(one(one(piece, "collection"), "bodySite")) for piece in line)
    return Glass(
        accession=next(filter(None, map(_accession, line)), ""),
        slide=_number(slide),
        block=_number(line[1]) if slide and len(line) > 1 else "",
        specimen_type=code_of(one(line[-1], "type")),
        body_site=next((site for site in sites if site != NOTHING), NOTHING),
        stains=tuple(_stains(resources, slide)),
    )


def is_slide(specimen: Element) -> bool:
    kinds = [one(container, "type") for container in each(specimen, "container")]
    containers = {code for kind in kinds for system, code in codes(kind) if system == SNOMED}
    types = {code for system, code in codes(one(specimen, "type")) if system == SNOMED}
    return bool(containers & SLIDE_CONTAINERS or types & SLIDE_SPECIMENS)


def slides_of(resources: Resources, request: Element, ordered: Iterable[Element]) -> list[Element]:
    """The slides that a request is about: those it names, and those that were cut from what it names."""
    named = {id(specimen) for specimen in ordered}
    found = []
    for specimen in resources.each("Specimen"):
        line = _line(resources, specimen)
        if is_slide(specimen) and (
            any(id(above) in named for above in line) or _asked_for(resources, specimen, request)
        ):
            found.append(specimen)
    return found


def _line(resources: Resources, specimen: Element) -> Iterator[Element]:
    """The specimen, its parent, the parent's parent: as far as they are here."""
    current: Element | None = specimen
    for _ in range(DEPTH):
        if current is None:
            return
        yield current
        parents = (resources.name(current, parent, "Specimen") for parent in each(current, "parent"))
        current = next(filter(None, parents), None)


def _asked_for(resources: Resources, specimen: Element, request: Element) -> bool:
    requests = (
        resources.find(specimen, reference)
        for reference in each(specimen, "request")
        if leads_to(reference) in ("", "ServiceRequest")
    )
    return any(found is request for found in requests)


def _accession(specimen: Element) -> str:
    return text(one(specimen, "accessionIdentifier"), "value") or identifier(specimen, ACCESSION)


def _number(specimen: Element) -> str:
    """The lab's own number first, as SPM-2.2 goes before SPM-2.1."""
    labels = (known for container in each(specimen, "container") for known in each(container, "identifier"))
    return text(first_identifier(specimen, FILLER) or next(labels, {}), "value")


def _stains(resources: Resources, slide: Element) -> Iterator[Code]:
    """What was done to the section, and with which substances; one code once."""
    seen: set[tuple[str, str]] = set()
    for step in each(slide, "processing"):
        substances = (resources.find(slide, additive) or {} for additive in each(step, "additive"))
        for concept in (one(step, "procedure"), *(one(substance, "code") for substance in substances)):
            code = code_of(concept)
            if code != NOTHING and (code.system, code.code or code.text) not in seen:
                seen.add((code.system, code.code or code.text))
                yield code
