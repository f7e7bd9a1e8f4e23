"""Orders: what FHIR R4 resources say about slides, in the vocabulary of `worker.jobs.order`.

In: Bundles, and the name of the server they came from. Out: announcements, each one resource at one version
with the orders that it gives, and refusals that say what was lacking and quote nothing. It fetches nothing
and decides nothing: `integrations.fhir.gathering` brings what is missing.

    ImagingStudy (SM)   registered -> REGISTERED, available -> AVAILABLE for each SM series,
                        cancelled, entered-in-error -> WITHDRAWN
    Task                requested ... -> REGISTERED, with an https image among its inputs -> AVAILABLE,
                        cancelled, entered-in-error -> WITHDRAWN
    ServiceRequest      active, on-hold, completed, unknown -> REGISTERED,
                        revoked, entered-in-error -> WITHDRAWN
    DiagnosticReport    final, amended, corrected, appended, and not ours -> CLOSED
    Specimen, Patient, Substance: what is told of the slide
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from integrations.fhir import accessions
from integrations.fhir.elements import Element, code_of, each, identifier, instant, labelled, one, text
from integrations.fhir.patients import patient_of
from integrations.fhir.resources import Resources, local
from integrations.fhir.specimens import Glass, glass, slides_of
from integrations.fhir.terms import (
    ACCESSION,
    ACT_REASON,
    DICOM_UID,
    FILLER,
    PLACER,
    SLIDE_MICROSCOPY,
    TEST_HEALTH_DATA,
)
from worker.errors import FhirOrderRefused
from worker.jobs.order import Order, Sender, Verb
from worker.jobs.request import Priority

PRIORITIES: Final = {
    "stat": Priority.STAT,
    "asap": Priority.URGENT,
    "urgent": Priority.URGENT,
    "routine": Priority.ROUTINE,
}
VOID: Final = frozenset({"revoked", "cancelled", "entered-in-error"})
ASKED: Final = frozenset({"requested", "received", "accepted", "ready", "in-progress", "on-hold"})
SIGNED_OUT: Final = frozenset({"final", "amended", "corrected", "appended"})
UID_URN: Final = "urn:oid:"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Announcement:
    """What one resource, at one version, says."""

    #: `Type/id/_history/version`: the same whenever this version is met again
    source: str
    #: the resource, JSON in ASCII
    raw: bytes
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Heard:
    announcements: tuple[Announcement, ...]
    refusals: tuple[FhirOrderRefused, ...]

    @property
    def orders(self) -> tuple[Order, ...]:
        return tuple(order for announcement in self.announcements for order in announcement.orders)


def orders_of(*bundles: Element, sender: Sender, ours: str) -> Heard:
    """What `bundles` say. `ours` is the identifier system of our own results, which close no case.

    Raises FhirUnreadable when one of `bundles` is no resource.
    """
    case = _Reader(Resources.of(*bundles), sender, ours)
    announcements: list[Announcement] = []
    refusals: list[FhirOrderRefused] = []
    for kind, read in case.readers.items():
        for resource in case.resources.each(kind):
            try:
                said = Announcement(
                    source=_source(resource), raw=_canonical(resource), orders=tuple(read(resource))
                )
            except FhirOrderRefused as refusal:
                refusals.append(refusal)
                continue
            if said.orders:
                announcements.append(said)
    return Heard(announcements=tuple(announcements), refusals=tuple(refusals))


@dataclass(frozen=True, slots=True, repr=False)
class _Reader:
    resources: Resources
    sender: Sender
    ours: str

    @property
    def readers(self) -> dict[str, Callable[[Element], Iterator[Order]]]:
        return {
            "ServiceRequest": self._request,
            "Task": self._task,
            "ImagingStudy": self._study,
            "DiagnosticReport": self._report,
        }

    def _request(self, request: Element) -> Iterator[Order]:
        status = text(request, "status")
        if status == "draft":
            return
        verb = Verb.WITHDRAWN if status in VOID else Verb.REGISTERED
        for order in self._about(request):
            yield replace(order, verb=verb, occurred_at=instant(text(request, "authoredOn")))

    def _task(self, task: Element) -> Iterator[Order]:
        status = text(task, "status")
        if status not in ASKED | VOID:
            return
        requests = self.resources.follow(task, "focus", "ServiceRequest")
        if not requests:
            raise FhirOrderRefused("Task.focus names no ServiceRequest.")
        images = tuple(dict.fromkeys(_image_inputs(task)))
        runs = images and status in ASKED and text(requests[0], "status") not in VOID
        for order in self._about(requests[0]):
            available = bool(runs) and not self._is_signed_out(order.accession)
            verb = Verb.AVAILABLE if available else Verb.WITHDRAWN if status in VOID else Verb.REGISTERED
            yield replace(
                order,
                verb=verb,
                images=images if available else (),
                occurred_at=instant(text(task, "authoredOn")),
            )

    def _study(self, study: Element) -> Iterator[Order]:
        series = [part for part in each(study, "series") if _is_slide_microscopy(part)]
        if not series and not _is_slide_microscopy(study):
            return
        requests = self._requests_of(study)
        verb = self._verb_of_study(study, requests)
        for part in series or [{}]:
            order = self._order(requests, self._slide_of(study, part), study)
            if verb is Verb.AVAILABLE and self._is_signed_out(order.accession):
                continue
            yield replace(
                order,
                verb=verb,
                study_uid=_study_uid(study),
                series_uid=text(part, "uid"),
                occurred_at=instant(text(part, "started") or text(study, "started")),
            )

    def _report(self, report: Element) -> Iterator[Order]:
        if text(report, "status") not in SIGNED_OUT or self._is_ours(report):
            return
        yield Order(
            verb=Verb.CLOSED,
            sender=self.sender,
            accession=accessions.of_report(self.resources, report),
            occurred_at=instant(text(report, "issued") or text(report, "effectiveDateTime")),
            is_test=_is_test(report),
            final_report=text(report, "conclusion"),
        )

    def _about(self, request: Element) -> Iterator[Order]:
        """One order for each slide of a request; one for the case where its slides are not known."""
        specimens = self.resources.follow(request, "specimen", "Specimen")
        slides = slides_of(self.resources, request, specimens)
        known = [glass(self.resources, specimen) for specimen in slides or specimens[:1]]
        for about in known or [Glass()]:
            yield self._order([request], about, request)

    def _order(self, requests: list[Element], about: Glass, source: Element) -> Order:
        """What is known, as REGISTERED; the first request is the one that is named."""
        request = requests[0] if requests else {}
        return Order(
            verb=Verb.REGISTERED,
            sender=self.sender,
            accession=accessions.required(
                source,
                about.accession,
                identifier(source, ACCESSION),
                accessions.of_request(self.resources, request),
            ),
            slide=about.slide,
            block=about.block,
            placer_order=identifier(request, PLACER),
            filler_order=identifier(request, FILLER),
            procedure=code_of(one(request, "code")),
            specimen_type=about.specimen_type,
            body_site=about.body_site,
            stains=about.stains,
            priority=_priority([*requests, *self._tasks(requests, ASKED)]),
            patient=patient_of(self.resources, [*requests, source]),
            is_test=_is_test(source, request),
        )

    def _requests_of(self, study: Element) -> list[Element]:
        """The requests behind a study, whether it names them or a task for them."""
        tasks = self.resources.follow(study, "basedOn", "Task")
        requests = self.resources.follow(study, "basedOn", "ServiceRequest")
        return requests + [
            request for task in tasks for request in self.resources.follow(task, "focus", "ServiceRequest")
        ]

    def _verb_of_study(self, study: Element, requests: list[Element]) -> Verb:
        """An image that is there is not read when everything that asked for it was taken back."""
        if text(study, "status") in VOID:
            return Verb.WITHDRAWN
        is_void = bool(requests) and all(text(request, "status") in VOID for request in requests)
        is_taken_back = self._tasks(requests, VOID) and not self._tasks(requests, ASKED)
        is_there = text(study, "status") == "available"
        return Verb.AVAILABLE if is_there and not is_void and not is_taken_back else Verb.REGISTERED

    def _slide_of(self, study: Element, series: Element) -> Glass:
        for reference in each(series, "specimen"):
            specimen = self.resources.name(study, reference, "Specimen")
            if specimen is None:
                raise FhirOrderRefused("ImagingStudy.series.specimen leads to what is not here.")
            return glass(self.resources, specimen, imaged=True)
        return Glass()

    def _is_signed_out(self, accession: str) -> bool:
        for report in self.resources.each("DiagnosticReport"):
            try:
                if accession in {order.accession for order in self._report(report)}:
                    return True
            except FhirOrderRefused:
                continue
        return False

    def _is_ours(self, resource: Element) -> bool:
        return any(text(known, "system") == self.ours for known in each(resource, "identifier"))

    def _tasks(self, requests: list[Element], statuses: frozenset[str]) -> list[Element]:
        """The tasks that are about one of `requests` and stand in one of `statuses`."""
        wanted = {id(request) for request in requests}
        return [
            task
            for task in self.resources.each("Task")
            if text(task, "status") in statuses
            and id(self.resources.find(task, one(task, "focus"))) in wanted
        ]


def _is_slide_microscopy(element: Element) -> bool:
    return any(text(coding, "code") == SLIDE_MICROSCOPY for coding in each(element, "modality"))


def _priority(sources: Iterable[Element]) -> Priority:
    """The most urgent that is said; what is not said is routine, as R4 has it."""
    said = [PRIORITIES.get(text(source, "priority"), Priority.ROUTINE) for source in sources]
    return min(said, key=lambda priority: priority.level, default=Priority.ROUTINE)


def _is_test(*sources: Element) -> bool:
    return any(labelled(source, ACT_REASON, TEST_HEALTH_DATA) for source in sources)


def _study_uid(study: Element) -> str:
    uids = (text(known, "value") for known in each(study, "identifier") if text(known, "system") == DICOM_UID)
    return next(uids, "").removeprefix(UID_URN)


def _image_inputs(task: Element) -> Iterator[str]:
    for given in each(task, "input"):
        url = text(given, "valueUrl") or text(given, "valueUri") or text(one(given, "valueAttachment"), "url")
        if url.startswith("https:"):
            yield url


def _source(resource: Element) -> str:
    version = text(one(resource, "meta"), "versionId")
    return f"{local(resource)}/_history/{version}" if version else local(resource)


def _canonical(resource: Element) -> bytes:
    try:
        return json.dumps(resource, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:
        raise FhirOrderRefused("It is nested too deeply.") from None
