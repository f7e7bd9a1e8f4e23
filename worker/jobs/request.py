"""JobRequest, version 1: what may be asked.

In: untrusted JSON. Out: a frozen, checked value, or `InvalidRequest` that names each field and never
repeats what was sent. This is the one wire schema: HTTP body, Celery message and command line all
become it. Nothing here knows how a reference is opened or where a job is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
)
from pydantic import field_validator as check
from pydantic import model_validator as model_check

from worker.errors import InvalidRequest
from worker.jobs.archived import SCHEME as ARCHIVE
from worker.jobs.archived import archived_in

#: object stores, by the names that fsspec has for them
STORES = ("s3", "gs", "abfs")
SCHEMES = ("file", "upload", "https", *STORES, "dicomweb")
OPTION_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: of a reference: the files of one series make one (`worker.uploads.MOST_FILES`)
LONGEST = 8192
#: of a region, in pixels or millimetres
LARGEST = 10_000_000

#: what of it a schema can say; `dicomweb:` has its own grammar
_REFERENCES = rf"^({'|'.join(SCHEMES[:-1])}):[^\x00]*[^\s\x00][^\x00]*$"
_REFERENCE = re.compile(r"^([a-z][a-z0-9+.-]*):.+$", re.DOTALL)
_DAY = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
#: PostgreSQL keeps no U+0000 in a text
PLAIN = r"^[^\x00]*$"
#: the same, and not of spaces alone: those around it are taken away
WORDS = r"^[^\x00]*[^\s\x00][^\x00]*$"


#: where a field can stand in a request, as FastAPI says it
_PLACES = {("body",), ("query",), ("path",), ("header",)}


class Style(StrEnum):
    """How the model is asked to reason."""

    COT = "cot"  #: chain of thought: step by step
    COD = "cod"  #: chain of draft: at most five words a step


class Priority(StrEnum):
    """How urgent a case is; `level` 0 is read first."""

    STAT = "stat"  #: before all others
    URGENT = "urgent"  #: before routine
    ROUTINE = "routine"  #: lifted to urgent once it has waited for `PATHLANE_PATIENCE_MINUTES`

    @property
    def level(self) -> int:
        return list(Priority).index(self)


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


def _text_only(value: object) -> object:
    """A number is no time, though pydantic would take it for one."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DAY.match(value)):
        return value
    raise ValueError("must be a text: 2026-11-23T18:00:00Z")


def _in_reach(moment: datetime) -> datetime:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999") from None
    return moment


def _whole(value: object) -> object:
    """As JSON counts: 1.0 is an integer, true and "1" are none."""
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")  # noqa: TRY004  pydantic turns no other error into its own
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: its limits stand first, or the description would lack them
whole = BeforeValidator(_whole)
One = Annotated[Literal[1], whole]


#: RFC 3339, with its offset
Moment = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_in_reach)]


class Unit(StrEnum):
    """What the numbers of a region count."""

    PIXEL = "pixel"  #: whole numbers, of the level that is named
    MILLIMETRE = "mm"  #: of a slide whose pixels have a known size


#: pixels are whole numbers, as one schema cannot say of a field by itself
_WHOLE: dict[str, JsonValue] = {side: {"type": "integer"} for side in ("x", "y", "width", "height")}
_PIXELS: dict[str, JsonValue] = {"unit": {"const": "pixel"}}
_REGIONS: list[JsonValue] = [
    {"properties": _PIXELS | _WHOLE},
    {"properties": {"unit": {"const": "mm"}, "level": {"const": 0}}, "required": ["unit"]},
]  # fmt: skip


class Region(_Wire):
    """A box on the image; the origin is the top left corner of the stored picture, or of a slide's largest
    level."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _REGIONS})

    #: left edge
    x: Annotated[float, Field(ge=0, le=LARGEST, strict=True)]
    #: upper edge
    y: Annotated[float, Field(ge=0, le=LARGEST, strict=True)]
    #: of the box
    width: Annotated[float, Field(gt=0, le=LARGEST, strict=True)]
    #: of the box
    height: Annotated[float, Field(gt=0, le=LARGEST, strict=True)]
    #: what the four numbers count
    unit: Unit = Unit.PIXEL
    #: the level of the pyramid whose pixels are counted, from 0, the largest
    level: Annotated[int, Field(ge=0, le=63), whole] = 0

    @model_check(mode="after")
    def _whole_pixels(self) -> Self:
        if self.unit is Unit.PIXEL:
            if any(value != int(value) for value in (self.x, self.y, self.width, self.height)):
                raise ValueError("pixels are whole numbers")
        elif self.level:
            raise ValueError("a level belongs to pixels, not to millimetres")
        return self


class ImageReference(_Wire):
    """Where an image is, and which part of it is meant."""

    #: `upload:`, `file:`, `https:` and others: docs/reference/imaging.md
    reference: Annotated[
        str,
        StringConstraints(min_length=1, max_length=LONGEST, pattern=WORDS),
        Field(json_schema_extra={"pattern": _REFERENCES}),
    ]
    #: the part that is meant; the whole image when none is given
    region: Region | None = None
    #: DICOM frame number, from 1 (PS3.3 C.7.6.6); the first when none is given
    frame: Annotated[int, Field(ge=1), whole] | None = None
    #: of a slide: 20 is 0.5 microns per pixel. For the region, or for the windows where none is given
    magnification: Annotated[float, Field(gt=0, le=100, strict=True)] | None = None
    #: of a slide without a region: how many windows are shown beside the overview
    windows: Annotated[int, Field(ge=1, le=16), whole] | None = None

    @check("reference")
    @classmethod
    def _known_scheme(cls, reference: str) -> str:
        found = _REFERENCE.match(reference)
        if found is None or found[1] not in SCHEMES:
            raise ValueError(f"must start with one of {', '.join(s + ':' for s in SCHEMES)}")
        if found[1] == "dicomweb":
            archived_in(reference)
        return reference

    @model_check(mode="after")
    def _one_frame(self) -> Self:
        if self.frame is not None and self.shown_frame != self.frame:
            raise ValueError("the reference names another frame")
        return self

    @property
    def shown_frame(self) -> int | None:
        """`frame`, or the one that a `dicomweb:` reference ends with."""
        named = archived_in(self.reference).frame if self.reference.startswith(ARCHIVE) else None
        return named or self.frame


Option = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=WORDS)]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=WORDS)]
LabelText = Annotated[str, StringConstraints(max_length=512, pattern=PLAIN)]
OwnId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=WORDS)]


class JobRequest(_Wire):
    """One question about one to eight images."""

    #: of this schema
    version: One = 1
    #: what is asked about, in this order
    images: Annotated[tuple[ImageReference, ...], Field(min_length=1, max_length=8)]
    #: what is asked
    question: Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=WORDS)]
    #: none, or two to twenty-six; they become A, B, C ... in the prompt
    options: Annotated[
        tuple[Option, ...],
        Field(max_length=26, json_schema_extra={"uniqueItems": True, "not": {"minItems": 1, "maxItems": 1}}),
    ] = ()
    #: how the model is asked to reason
    style: Style = Style.COT
    #: what is read first
    priority: Priority = Priority.ROUTINE
    #: when the answer is wanted, with its time zone; decides the order inside a priority
    due_at: Moment | None = None
    #: seconds one attempt may spend in the engine; the server's default when none is given
    timeout: Annotated[float, Field(ge=1, le=3600, strict=True)] | None = None
    #: answers to draw; one, for now
    samples: One = 1
    #: the same key of the same asker never makes a second job
    idempotency_key: OwnId | None = None
    #: the asker's own id, given back in every event: no names here
    correlation_id: OwnId | None = None
    #: the asker's own notes; kept, given back, never logged and never sent on
    labels: Annotated[
        dict[LabelName, LabelText],
        Field(
            max_length=32,
            json_schema_extra={"propertyNames": {"minLength": 1, "maxLength": 64, "pattern": WORDS}},
        ),
    ] = {}
    #: names or ids of endpoints to tell; none given: all that are subscribed; an empty list: nobody
    endpoints: Annotated[tuple[OwnId, ...], Field(max_length=16)] | None = None

    @check("options")
    @classmethod
    def _two_or_more_different(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if len(options) == 1:
            raise ValueError("give two to twenty-six options, or none for an open question")
        if len({option.casefold() for option in options}) < len(options):
            raise ValueError("options must differ from each other")
        return options

    @property
    def digest(self) -> str:
        """The same for the same question, whatever the order of the fields and whatever its key."""
        body = self.model_dump(mode="json", exclude={"idempotency_key"})
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def parse_request(body: bytes | str | dict[str, Any]) -> JobRequest:
    """Untrusted JSON becomes a JobRequest, or raises InvalidRequest with every field that is wrong."""
    try:
        if isinstance(body, dict):
            return JobRequest.model_validate_json(json.dumps(body))
        return JobRequest.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(problems_of(error)) from None
    except (TypeError, ValueError):
        raise InvalidRequest((("body", "is not JSON"),)) from None


def problems_of(error: ValidationError) -> tuple[tuple[str, str], ...]:
    """(field, reason) for each thing that is wrong, without the value that was sent."""
    return problems_from(error.errors(include_url=False, include_input=False, include_context=False))


def problems_from(
    errors: Iterable[Mapping[str, Any]], *, names: frozenset[str] = frozenset()
) -> tuple[tuple[str, str], ...]:
    """The same from pydantic's list, as FastAPI hands it on; where a field stands is left out of its name.

    `names` are fields of other schemas than this one.
    """
    return tuple((_field(error["loc"], names), _reason(error)) for error in errors)


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "union_tag_invalid":  # pydantic repeats what was sent
        return "is none of those that are allowed"
    if error["type"] == "string_pattern_mismatch":  # a pattern tells a reader little
        return "is not of the form that the API's description gives"
    return str(error["msg"]).removeprefix("Value error, ")


def _field(location: tuple[int | str, ...], names: frozenset[str]) -> str:
    """Names of our own schema only: an unknown field's name may itself be text of a case."""
    known = {*JobRequest.model_fields, *ImageReference.model_fields, *Region.model_fields, *names}
    inside = location[1:] if location[:1] in _PLACES else location
    parts = [str(part) if isinstance(part, int) or part in known else "?" for part in inside]
    return ".".join(parts) or "body"
