"""Accession numbers: where FHIR keeps the number that a laboratory calls a case by.

In: resources. Out: the number; refused where there is none, since nothing could be matched to the case.

The precedence: `Specimen.accessionIdentifier` of the slide or of what it was cut from; an identifier of type
ACSN; of a ServiceRequest at last its FILL identifier, which older laboratories use so.
"""

from __future__ import annotations

from integrations.fhir.elements import Element, each, identifier
from integrations.fhir.resources import Resources
from integrations.fhir.specimens import glass
from integrations.fhir.terms import ACCESSION, FILLER
from worker.errors import FhirOrderRefused


def of_request(resources: Resources, request: Element) -> str:
    """`` where there is none."""
    specimens = (resources.name(request, known, "Specimen") for known in each(request, "specimen"))
    found = (glass(resources, specimen).accession for specimen in specimens if specimen)
    return next(filter(None, found), "") or identifier(request, ACCESSION, FILLER)


def of_report(resources: Resources, report: Element) -> str:
    """Its specimens' before its own: a report's own accession identifier may be the number of the report.

    Raises FhirOrderRefused.
    """
    specimens = resources.follow(report, "specimen", "Specimen")
    named = [glass(resources, specimen).accession for specimen in specimens]
    requests = [] if any(named) else resources.follow(report, "basedOn", "ServiceRequest")
    named += [of_request(resources, request) for request in requests]
    return required(report, *named, identifier(report, ACCESSION))


def required(source: Element, *candidates: str) -> str:
    """The first that is not empty. Raises FhirOrderRefused."""
    accession = next(filter(None, candidates), "")
    if not accession:
        raise FhirOrderRefused(f"{source.get('resourceType')} leads to no accession number.")
    return accession
