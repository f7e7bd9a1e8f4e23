"""Orders: a message becomes what it says about slides and cases, in the words every channel shares.

In: a parsed message and its sender's profile. Out: orders; or `Ignored`, with the reason; or a refusal that
names the field. All of a message is read or none of it. It keeps nothing and asks nothing of an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from integrations.hl7.head import head_of, identifier
from integrations.hl7.message import Message
from integrations.hl7.observations import SERIES, STUDY, images_of, report_of, stains_of, uid_of
from integrations.hl7.patients import merges_of, patient_of
from integrations.hl7.profiles import Profile
from integrations.hl7.times import read_time
from integrations.hl7.units import Unit, units
from worker.errors import FieldMissing, MessageUnsupported, VersionUnsupported
from worker.jobs.order import Channel, Merge, Order, Sender, Subject, Verb
from worker.jobs.request import Priority

#: HL70485 and its forerunners, casefolded
PRIORITIES: Final = {
    "s": Priority.STAT, "stat": Priority.STAT, "a": Priority.URGENT, "asap": Priority.URGENT,
    "u": Priority.URGENT, "urgent": Priority.URGENT, "r": Priority.ROUTINE, "routine": Priority.ROUTINE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing is to be done; the message is acknowledged all the same."""

    #: a word for a count: it quotes nothing
    reason: str


def read_orders(message: Message, profile: Profile) -> tuple[Order, ...] | Ignored:
    """What a message says, each thing once. Raises MessageRefused (one of its kinds)."""
    head = head_of(message)
    if head.version and not head.version.startswith("2"):
        raise VersionUnsupported("Versions 2.1 to 2.9 are read.", where="MSH-12")
    sender = Sender(
        channel=Channel.HL7,
        application=identifier(head.application, "MSH-3"),
        facility=identifier(head.facility, "MSH-4"),
    )
    found: list[Order] = []
    for unit in units(message):
        verb = _verb(message.kind, unit, profile)
        if verb is not None:
            found += _orders(verb, unit, _Reader(sender, profile, is_test=head.is_test))
    return _each_once(found) or Ignored("nothing_to_do")


def _verb(kind: str, unit: Unit, profile: Profile) -> Verb | None:
    """None: to be left alone. Raises MessageUnsupported."""
    met = next((trigger for trigger in profile.triggers if trigger.is_met(kind, unit)), None)
    if met is None and profile.refuses_unknown:
        raise MessageUnsupported(f"Profile {profile.name} has no trigger for it.", where="MSH-9")
    return met.verb if met else None


@dataclass(frozen=True, slots=True)
class _Reader:
    """What holds for the whole message."""

    sender: Sender
    profile: Profile
    is_test: bool

    def named(self, unit: Unit, verb: Verb) -> Order:
        """Who and what; the verb decides what else is needed."""
        profile = self.profile
        return Order(
            verb=verb,
            sender=self.sender,
            is_test=self.is_test,
            accession=_identifier(unit, profile.accession),
            slide=_identifier(unit, profile.slide),
            placer_order=_identifier(unit, profile.placer_order),
            filler_order=_identifier(unit, profile.filler_order),
            patient=patient_of(unit, profile.patient),
        )

    def described(self, unit: Unit, verb: Verb) -> Order:
        profile = self.profile
        return replace(
            self.named(unit, verb),
            block=_identifier(unit, profile.block),
            procedure=unit.code(profile.procedure),
            specimen_type=unit.code(profile.specimen_type),
            body_site=unit.code(profile.body_site),
            stains=stains_of(unit, profile.stain),
            priority=_priority(unit, profile.priority),
        )


def _orders(verb: Verb, unit: Unit, reader: _Reader) -> Iterator[Order]:
    if verb is Verb.MERGED:
        yield from _merged(unit, reader)
    elif verb is Verb.AVAILABLE:
        yield _needed(_available(unit, reader))
    elif verb is Verb.REGISTERED:
        order = reader.described(unit, verb)
        # A patient whose name or birth date changed is news without any case.
        if order.accession or order.slide or order.patient:
            yield order
    elif verb is Verb.CLOSED:
        # The case is closed with all of its slides, whichever the message mentions.
        yield _needed(replace(reader.named(unit, verb), slide="", final_report=report_of(unit)))
    else:
        yield _needed(reader.named(unit, verb))


def _available(unit: Unit, reader: _Reader) -> Order:
    profile = reader.profile
    return replace(
        reader.described(unit, Verb.AVAILABLE),
        study_uid=uid_of(unit, STUDY, profile.study_uid),
        series_uid=uid_of(unit, SERIES, profile.series_uid),
        images=images_of(unit, profile.images),
        occurred_at=_time(unit, profile),
    )


def _merged(unit: Unit, reader: _Reader) -> Iterator[Order]:
    """Patients by MRG; accessions where the profile says under which path the earlier one stands."""
    prior, path = unit.find(reader.profile.prior_accession)
    if not prior:
        for merge, patient in merges_of(unit, reader.profile.patient):
            order = Order(verb=Verb.MERGED, sender=reader.sender, is_test=reader.is_test, merge=merge)
            yield replace(order, patient=patient)
        return
    order = reader.named(unit, Verb.MERGED)
    if not order.accession:
        raise FieldMissing(_needs(reader.profile.accession), where=reader.profile.accession[0])
    merge = Merge(subject=Subject.ACCESSION, prior=identifier(prior, path), survivor=order.accession)
    yield replace(order, slide="", merge=merge)


def _needed(order: Order) -> Order:
    if not (order.accession or order.slide):
        raise FieldMissing("Neither an accession nor a slide is named.", where="ORC-38")
    return order


def _needs(paths: Sequence[str]) -> str:
    return f"One of {', '.join(paths)} is needed."


def _identifier(unit: Unit, paths: Sequence[str]) -> str:
    value, path = unit.find(paths)
    return identifier(value, path)


def _priority(unit: Unit, paths: Sequence[str]) -> Priority:
    """Of the first path under which there is a priority that is known."""
    words = (value.casefold() for path in paths for value in unit.values(path))
    return next((PRIORITIES[word] for word in words if word in PRIORITIES), Priority.ROUTINE)


def _time(unit: Unit, profile: Profile) -> datetime | None:
    times = (read_time(text, profile.time_zone) for path in profile.scanned_at for text in unit.values(path))
    return next((time for time in times if time is not None), None)


def _each_once(found: list[Order]) -> tuple[Order, ...]:
    """Without repeats; a case that is closed several times is closed once, with all the words."""
    once: dict[Order, list[str]] = {}
    for order in found:
        once.setdefault(replace(order, final_report=""), []).append(order.final_report)
    return tuple(replace(order, final_report="\n".join(filter(None, words))) for order, words in once.items())
