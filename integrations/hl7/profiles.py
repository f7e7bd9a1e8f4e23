"""Profiles: how one sender's messages are to be read. Where things stand, and which message means what.

In: the name of a profile, and what a site says differently. Out: a frozen `Profile`. `ihe-dpow` is IHE PaLM
DPOW, a draft for public comment of 2026, whose transactions and codes may change; `classic` is for the older
order feeds; `reports` for the system that signs cases out. It reads no message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, tzinfo
from typing import Final

from integrations.hl7.paths import read_path
from integrations.hl7.triggers import Trigger, condition, read_trigger
from worker.jobs.order import Verb

Paths = tuple[str, ...]

#: in a trigger: left alone, and acknowledged
IGNORED: Final = "ignored"
#: kinds of message in which a scanner or its server tells that it is done
_SCAN_DONE: Final = ("ORU^R01", "ORM^O01", "OML^*", "OUL^*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Of several paths the first with something in it counts; see `integrations.hl7.paths`."""

    name: str
    #: the first that is met decides
    triggers: tuple[Trigger, ...] = ()
    accession: Paths = ("ORC-38", "SPM-30", "SAC-2", "OBR-3", "ORC-3", "OBR-18", "OBR-20")
    slide: Paths = ("SPM-2.2", "SPM-2.1", "SAC-3", "OBR-19")
    block: Paths = ("SPM-3.2", "SPM-3.1")
    placer_order: Paths = ("ORC-2", "OBR-2")
    filler_order: Paths = ("ORC-3", "OBR-3")
    procedure: Paths = ("OBR-4",)
    specimen_type: Paths = ("SPM-4", "OBR-15.1")
    body_site: Paths = ("SPM-8", "OBR-15.4")
    #: where no OBX names a stain
    stain: Paths = ()
    priority: Paths = ("TQ1-9", "OBR-27.6", "ORC-7.6", "OBR-5")
    #: of an image that is available
    scanned_at: Paths = ()
    #: where no OBX names a study
    study_uid: Paths = ("ZDS-1",)
    series_uid: Paths = ()
    #: whatever starts with `https:` there
    images: Paths = ()
    patient: Paths = ("PID-3", "PID-2")
    #: the accession that became `accession`, in a message that says so
    prior_accession: Paths = ()
    #: of times that come without one
    time_zone: tzinfo = UTC
    #: a message that meets no trigger is refused (AR), not ignored (AA)
    refuses_unknown: bool = True


FIELDS: Final = tuple(one.name for one in fields(Profile) if one.type == "Paths")


def profile_of(
    name: str = "ihe-dpow",
    *,
    given: Mapping[str, Sequence[str]] | None = None,
    triggers: Mapping[str, Sequence[str]] | None = None,
    scan_done: Mapping[str, Sequence[str]] | None = None,
    time_zone: tzinfo = UTC,
) -> Profile:
    """The profile of that name, with a site's own paths (`given`) in the place of its paths.

    A site's `triggers` (verb, or `ignored`: lines) come before the profile's. `scan_done` (path: values) is
    short for a trigger: where all of it holds, the image is available. Raises ValueError, which says why.
    """
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; there are {', '.join(PROFILES)}")
    known = PROFILES[name]
    return replace(
        known,
        triggers=(*_scan_done(scan_done or {}), *_triggers(triggers or {}), *known.triggers),
        time_zone=time_zone,
        **{field: _paths(field, paths) for field, paths in (given or {}).items()},  # type: ignore[arg-type]
    )


def _paths(field: str, paths: Sequence[str]) -> Paths:
    if field not in FIELDS:
        raise ValueError(f"there is no field {field!r}; there are {', '.join(FIELDS)}")
    for path in paths:
        read_path(path)
    return tuple(paths)


def _triggers(lines: Mapping[str, Sequence[str]]) -> tuple[Trigger, ...]:
    return tuple(read_trigger(line, _verb(word)) for word, some in lines.items() for line in some)


def _verb(word: str) -> Verb | None:
    if word == IGNORED:
        return None
    if word not in list(Verb):
        raise ValueError(f"{word!r} is no verb; there are {', '.join(Verb)}, {IGNORED}")
    return Verb(word)


def _scan_done(said: Mapping[str, Sequence[str]]) -> tuple[Trigger, ...]:
    conditions = tuple(condition(path, values) for path, values in said.items())
    return tuple(Trigger(kind, conditions, Verb.AVAILABLE) for kind in _SCAN_DONE if conditions)


_CANCELS: Final = "ORC-1=CA,DC,OC,OD,CR,DR"
#: what any sender may send beside its orders
_PATIENTS: Final = {
    "merged": ("ADT^A34", "ADT^A36", "ADT^A40", "ADT^A47"),
    "registered": ("ADT^A08", "ADT^A31"),
    IGNORED: ("ADT^*", "SIU^*", "ACK^*", "ORL^*", "ORR^*"),
}

IHE_DPOW: Final = Profile(
    name="ihe-dpow",
    scanned_at=("SPM-18",),
    triggers=(
        *_triggers({"withdrawn": (f"OML^O21 where {_CANCELS}",)}),
        *_triggers({
            # SPM-20 is about the image in this profile alone; elsewhere it is about the specimen.
            "withdrawn": ("OML^O21 where MSH-21=DPOW-IMAGE-NOTIF and SPM-20=N",),
            "available": ("OML^O21 where MSH-21=DPOW-IMAGE-NOTIF and SPM-20=Y",),
            "closed": ("OML^O21 where MSH-21=DPOW-CASE-UPDATE and ORC-5=CM and ORC-25=Final,Ended",),
            "registered": (
                "OML^O21 where MSH-21=DPOW-SPECIMEN,DPOW-BLOCK,DPOW-SLIDE,DPOW-CASE-UPDATE",
                "OML^O21 where MSH-21=DPOW-PLACE-WO,DPOW-ACCEPT-WO",
            ),
        }),
        *_triggers(_PATIENTS),
    ),
)  # fmt: skip

CLASSIC: Final = Profile(
    name="classic",
    scanned_at=("OBX-14", "OBR-22"),
    triggers=_triggers({
        "withdrawn": (f"ORM^O01 where {_CANCELS}", f"OML^* where {_CANCELS}"),
        "registered": ("ORM^O01", "OML^O21", "OML^O33", "OML^O35"),
        IGNORED: ("ORU^*", "OUL^*", "MDM^*"),
    }) + _triggers(_PATIENTS),
)  # fmt: skip

REPORTS: Final = Profile(
    name="reports",
    accession=("ORC-38", "SPM-30", "OBR-3", "ORC-3", "TXA-15", "OBR-18", "OBR-20"),
    filler_order=("ORC-3", "OBR-3", "TXA-15"),
    placer_order=("ORC-2", "OBR-2", "TXA-14"),
    triggers=(
        *_triggers({"closed": ("ORU^R01 where OBR-25=F,C",)}),
        *_triggers({
            IGNORED: ("ORU^R01 where OBR-25=I,O,P,R,S,A,X,Y,Z", "MDM^T02 where TXA-17=DI,DO,IN,IP,PA"),
            "closed": ("ORU^R01 where OBX-11=F,C", "MDM^T02"),
        }),
        *_triggers({IGNORED: ("ORU^*", "OUL^*", "MDM^*", "ORM^*", "OML^*")}),
        *_triggers(_PATIENTS),
    ),
)  # fmt: skip

PROFILES: Final = {profile.name: profile for profile in (IHE_DPOW, CLASSIC, REPORTS)}
