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
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import field_validator as check
from pydantic import model_validator as model_check

from worker.errors import InvalidRequest

SCHEMES = ("file", "upload", "https", "s3", "dicomweb")
OPTION_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_REFERENCE = re.compile(r"^([a-z][a-z0-9+.-]*):.+$", re.DOTALL)


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


class Unit(StrEnum):
    """What the numbers of a region count."""

    PIXEL = "pixel"  #: whole numbers, of the level that is named
    MILLIMETRE = "mm"  #: of a slide whose pixels have a known size


class Region(_Wire):
    """A box on the image; the origin is the top left corner of the stored picture, or of a slide's largest
    level."""

    #: left edge
    x: Annotated[float, Field(ge=0)]
    #: upper edge
    y: Annotated[float, Field(ge=0)]
    #: of the box
    width: Annotated[float, Field(gt=0)]
    #: of the box
    height: Annotated[float, Field(gt=0)]
    #: what the four numbers count
    unit: Unit = Unit.PIXEL
    #: the level of the pyramid whose pixels are counted, from 0, the largest
    level: Annotated[int, Field(ge=0, le=63)] = 0

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
    reference: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    #: the part that is meant; the whole image when none is given
    region: Region | None = None
    #: DICOM frame number, from 1 (PS3.3 C.7.6.6); the first when none is given
    frame: Annotated[int, Field(ge=1)] | None = None
    #: of a slide: 20 is 0.5 microns per pixel. For the region, or for the windows where none is given
    magnification: Annotated[float, Field(gt=0, le=100)] | None = None
    #: of a slide without a region: how many windows are shown beside the overview
    windows: Annotated[int, Field(ge=1, le=16)] | None = None

    @check("reference")
    @classmethod
    def _known_scheme(cls, reference: str) -> str:
        found = _REFERENCE.match(reference)
        if found is None or found[1] not in SCHEMES:
            raise ValueError(f"must start with one of {', '.join(s + ':' for s in SCHEMES)}")
        return reference


Option = Annotated[str, StringConstraints(min_length=1, max_length=500)]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LabelText = Annotated[str, StringConstraints(max_length=512)]


class JobRequest(_Wire):
    """One question about one to eight images."""

    #: of this schema
    version: Literal[1] = 1
    #: what is asked about, in this order
    images: Annotated[tuple[ImageReference, ...], Field(min_length=1, max_length=8)]
    #: what is asked
    question: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    #: none, or two to twenty-six; they become A, B, C ... in the prompt
    options: Annotated[tuple[Option, ...], Field(max_length=26)] = ()
    #: how the model is asked to reason
    style: Style = Style.COT
    #: what is read first
    priority: Priority = Priority.ROUTINE
    #: when the answer is wanted, with its time zone; decides the order inside a priority
    due_at: AwareDatetime | None = None
    #: seconds one attempt may spend in the engine; the server's default when none is given
    timeout: Annotated[float, Field(ge=1, le=3600)] | None = None
    #: answers to draw; one, for now
    samples: Literal[1] = 1
    #: the same key of the same asker never makes a second job
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    #: the asker's own id, given back in every event: no names here
    correlation_id: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    #: the asker's own notes; kept, given back, never logged and never sent on
    labels: Annotated[dict[LabelName, LabelText], Field(max_length=32)] = {}
    #: names or ids of endpoints to tell; none given: all that are subscribed; an empty list: nobody
    endpoints: Annotated[tuple[str, ...], Field(max_length=16)] | None = None

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


def problems_from(errors: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The same from pydantic's list, as FastAPI hands it on; `body` in front of a field is left out."""
    return tuple((_field(error["loc"]), error["msg"].removeprefix("Value error, ")) for error in errors)


def _field(location: tuple[int | str, ...]) -> str:
    """Names of our own schema only: an unknown field's name may itself be text of a case."""
    known = {*JobRequest.model_fields, *ImageReference.model_fields, *Region.model_fields}
    inside = location[1:] if location[:1] == ("body",) else location
    parts = [str(part) if isinstance(part, int) or part in known else "?" for part in inside]
    return ".".join(parts) or "body"
