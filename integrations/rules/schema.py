"""The shape of a rules file, version 1: which keys there are, and what each may hold.

In: the values of a document. Out: the same, checked one by one; pydantic's errors where they do not fit.
What several keys must agree on is in `checking`. The reference is docs/reference/rules.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from integrations.rules.patterns import refusal
from worker.jobs.order import Channel, Mode, TriageClass
from worker.jobs.request import Priority, Style

VERSION: Final = 1
#: a rule's priority that leaves the lab's own as it is
AS_ORDERED: Final = "as-ordered"

#: HL7 table 0211, as far as one byte means the same everywhere
CHARSETS: Final = (
    "ASCII", "8859/1", "8859/2", "8859/3", "8859/4", "8859/5", "8859/6", "8859/7", "8859/8", "8859/9",
    "8859/15", "UNICODE UTF-8",
)  # fmt: skip

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATH: Final = re.compile(r"[A-Z][A-Z0-9]{2}-[1-9]\d?(?:\.[1-9]\d?){0,2}")


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _small_letters(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _capitals(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


def _rule_priority(value: Any) -> Priority | None:
    word = _small_letters(value)
    if word != AS_ORDERED and word not in list(Priority):
        raise ValueError(f"must be {AS_ORDERED}, {', '.join(Priority)}")
    return None if word == AS_ORDERED else Priority(word)


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("must not be empty")
    return values


def _name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise ValueError("must be 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or a digit")
    return value


def _version(value: int) -> int:
    if value != VERSION:
        raise ValueError(f"this program reads version {VERSION}")
    return value


def _time_zone(value: str) -> str:
    try:
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone, as Europe/Berlin") from None


def _charset(value: str) -> str:
    if value not in CHARSETS:
        raise ValueError(f"must be one of {', '.join(CHARSETS)} (HL7 table 0211)")
    return value


def _options(options: tuple[str, ...]) -> tuple[str, ...]:
    if len(options) == 1:
        raise ValueError("give two to twenty-six options, or none for an open question")
    if len({option.strip(" .").casefold() for option in options}) < len(options):
        raise ValueError("options must differ from each other, and not only in case or full stops")
    return options


def _pattern(value: str) -> str:
    if reason := refusal(value):
        raise ValueError(reason)
    return value


def _path(value: str) -> str:
    if _PATH.fullmatch(value) is None:
        raise ValueError("must be a segment, a field, its component and subcomponent: ORC-38, SPM-2.2.1")
    return value


Name = Annotated[str, AfterValidator(_name)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Option = Annotated[
    str, StringConstraints(min_length=1, max_length=500), AfterValidator(lambda text: " ".join(text.split()))
]
Lines = Annotated[
    tuple[Line, ...], BeforeValidator(_one_is_a_list), Field(max_length=64), AfterValidator(_some)
]
Names = Annotated[
    tuple[Name, ...], BeforeValidator(_one_is_a_list), Field(max_length=16), AfterValidator(_some)
]
Paths = Annotated[
    tuple[Annotated[Line, AfterValidator(_path)], ...],
    BeforeValidator(_one_is_a_list),
    Field(max_length=16),
    AfterValidator(_some),
]
Pattern = Annotated[str, StringConstraints(min_length=1, strip_whitespace=False), AfterValidator(_pattern)]
APriority = Annotated[Priority, BeforeValidator(_small_letters)]
Priorities = Annotated[tuple[APriority, ...], BeforeValidator(_one_is_a_list), AfterValidator(_some)]
Regions = Annotated[
    tuple[
        tuple[
            Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)],
            Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)],
        ],
        ...,
    ],
    Field(max_length=8),
]  # fmt: skip


class Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True
    )


class QuestionPart(Part):
    name: Name
    question: Annotated[str, StringConstraints(min_length=1, max_length=4000)]
    options: Annotated[tuple[Option, ...], Field(max_length=26), AfterValidator(_options)] = ()
    style: Annotated[Style, BeforeValidator(_small_letters)] = Style.COT
    regions: Regions = ()
    triage: dict[Option, Annotated[TriageClass, BeforeValidator(_small_letters)]] = {}
    final: dict[Option, Pattern] = {}


class ProtocolPart(Part):
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    questions: Annotated[tuple[QuestionPart, ...], Field(max_length=16), AfterValidator(_some)]


class SenderPart(Part):
    name: Name
    channel: Annotated[Channel, BeforeValidator(_small_letters)]
    application: Line = "*"
    facility: Line = "*"
    charset: Annotated[str, BeforeValidator(_capitals), AfterValidator(_charset)] = "ASCII"
    profile: Annotated[str, StringConstraints(max_length=64)] = ""
    acknowledgement: Annotated[str, Field(pattern="^(application|enhanced)$")] = "application"
    domain: Annotated[str, StringConstraints(max_length=200)] = ""
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    fields: dict[Name, Paths] = {}
    triggers: dict[Line, Lines] = {}
    scan_done: dict[Line, Lines] = {}


class MatchPart(Part):
    sender: Lines | None = None
    facility: Lines | None = None
    procedure: Lines | None = None
    specimen_type: Lines | None = None
    stain: Lines | None = None
    body_site: Lines | None = None
    priority: Priorities | None = None


class RulePart(Part):
    name: Name
    match: MatchPart = MatchPart()
    ask: Names
    mode: Annotated[Mode, BeforeValidator(_small_letters)] = Mode.SHADOW
    priority: Annotated[Priority | None, BeforeValidator(_rule_priority)] = None
    style: Annotated[Style | None, BeforeValidator(_small_letters)] = None
    regions: Regions | None = None
    tell: Names | None = None
    stop: Annotated[bool, BeforeValidator(_small_letters)] = True


class RulesFile(Part):
    version: Annotated[int, AfterValidator(_version)]
    protocols: Annotated[dict[Name, ProtocolPart], Field(max_length=100)] = {}
    senders: Annotated[tuple[SenderPart, ...], Field(max_length=100)] = ()
    rules: Annotated[tuple[RulePart, ...], Field(max_length=200)] = ()
