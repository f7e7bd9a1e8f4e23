"""Traces: spans of a job's way, for whoever collects them; without a collector, nothing.

In: what happened to a job, and when. Out: a Span to each sink. Like a log line a span ends where text about
a case would begin: attributes that are not listed are dropped. OpenTelemetry is imported by `configure` alone
and only when a collector's URL is set (`worker.otlp`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from worker.jobs.trace import Trace, trace_of
from worker.settings import SettingsError

Value = str | int | float | bool

#: all that is said of a job besides its id: numbers, and words of closed sets
ATTRIBUTES: Final = frozenset({
    "attempt", "priority", "channel", "outcome", "code", "status", "reason", "http_status",
    "prompt_tokens", "completion_tokens", "rows", "device_seconds",
})  # fmt: skip


class SpanName(StrEnum):
    """The parts of a job's way, in their order."""

    SUBMIT = "submit"  #: from the first byte that was looked at to the commit
    QUEUE = "queue"  #: from when it might be claimed to when it was; one an attempt
    READ = "read"  #: from the claim to the reading, or to the error; one an attempt
    IMAGING = "imaging"  #: in `read`: images are fetched and opened
    PREFILL = "engine.prefill"  #: in `read`: images and question are read, up to the first token
    DECODE = "engine.decode"  #: in `read`: the other tokens; where a server keeps the first for itself, all
    FINISH = "finish"  #: the end is written down, however long the database takes
    DELIVER = "deliver"  #: one attempt to tell one endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    name: SpanName
    job_id: str
    trace: Trace
    #: seconds since 1970, of this machine's clock
    began: float
    ended: float
    attributes: Mapping[str, Value | None] = field(default_factory=dict)
    is_error: bool = False
    #: what happened within it, in order
    parts: tuple[Span, ...] = ()

    @property
    def told(self) -> dict[str, Value]:
        """Its attributes, as far as they may be told and are known."""
        listed = {name: value for name, value in self.attributes.items() if name in ATTRIBUTES}
        return {name: value for name, value in listed.items() if value is not None}


Sink = Callable[[Span], None]
_sinks: list[Sink] = []


def configure(program: str, url: str) -> None:
    """Send spans to the collector at `url`; none when it is empty. Called by entrances, once.

    Raises SettingsError when the extra `traces` is not installed.
    """
    if not url:
        return
    try:
        from worker.otlp import Exporter  # noqa: PLC0415  an extra
    except ImportError:
        raise SettingsError("PATHLANE_TRACES_URL: the extra `traces` is not installed") from None
    install(Exporter(program, url))


def install(*sinks: Sink) -> None:
    """These, and no others."""
    _sinks[:] = sinks


def is_on() -> bool:
    return bool(_sinks)


def tell(span: Span) -> None:
    """Returns at once: whatever a sink does that may take time, it does elsewhere."""
    for sink in _sinks:
        sink(span)


def log_context(job_id: str, traceparent: str | None) -> dict[str, str]:
    """What log lines about a job say besides its id, so that its trace is found from them."""
    return {"trace_id": trace_of(job_id, traceparent).name} if is_on() else {}
