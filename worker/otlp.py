"""OTLP: spans to an OpenTelemetry collector, in batches, from a thread of its own.

In: our spans. Out: OTLP over HTTP. It is the only module that imports OpenTelemetry, and spans are the only
thing it sends: the SDK's variables `OTEL_*` (headers, certificates, batches) mean what they always do. A
collector that is slow or away costs spans, never a case.
"""

from __future__ import annotations

import socket
import threading
from typing import Final

import requests
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from worker import __version__
from worker.traces import Span, SpanName

#: for one batch; the thread that waits is nobody's but the exporter's
SEND_SECONDS: Final = 5.0
_BILLION: Final = 1_000_000_000
_KINDS: Final = {SpanName.SUBMIT: otel.SpanKind.SERVER, SpanName.DELIVER: otel.SpanKind.CLIENT}


class _GivenIds(IdGenerator):
    """Random ids, but for a span whose ids every program must know: those are given, in the same thread."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.given = threading.local()

    def generate_span_id(self) -> int:
        span_id = getattr(self.given, "span_id", None)
        return self._random.generate_span_id() if span_id is None else int(span_id)

    def generate_trace_id(self) -> int:
        trace_id = getattr(self.given, "trace_id", None)
        return self._random.generate_trace_id() if trace_id is None else int(trace_id)


class Exporter:
    """A sink of `worker.traces`. What is left is sent when the program ends."""

    def __init__(self, program: str, url: str) -> None:
        session = requests.Session()
        session.trust_env = False  # spans go where the operator said, by no proxy
        resource = {
            "service.name": f"pathlane-{program}",
            "service.version": __version__,
            "host.name": socket.gethostname(),
        }
        self._ids = _GivenIds()
        self._provider = TracerProvider(id_generator=self._ids, resource=Resource(resource))
        exporter = OTLPSpanExporter(endpoint=url, timeout=SEND_SECONDS, session=session)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pathlane", __version__)

    def __call__(self, span: Span) -> None:
        if not span.trace.is_sampled:
            return
        if span.name is not SpanName.SUBMIT:
            self._tell(span, span.trace.root_id)
            return
        given = self._ids.given
        given.trace_id, given.span_id = span.trace.trace_id, span.trace.root_id
        try:
            self._tell(span, span.trace.caller_id)
        finally:
            given.trace_id = given.span_id = None

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _tell(self, span: Span, parent_id: int | None) -> None:
        told = {f"pathlane.{name}": value for name, value in span.told.items()}
        one = self._tracer.start_span(
            span.name.value,
            context=_under(span, parent_id),
            kind=_KINDS.get(span.name, otel.SpanKind.INTERNAL),
            attributes={"pathlane.job_id": span.job_id, **told},
            start_time=int(span.began * _BILLION),
        )
        if span.is_error:
            one.set_status(otel.StatusCode.ERROR)
        for part in span.parts:
            self._tell(part, one.get_span_context().span_id)
        one.end(int(max(span.began, span.ended) * _BILLION))


def _under(span: Span, parent_id: int | None) -> Context:
    if parent_id is None:
        return Context()
    parent = otel.SpanContext(
        trace_id=span.trace.trace_id,
        span_id=parent_id,
        is_remote=True,
        trace_flags=otel.TraceFlags(otel.TraceFlags.SAMPLED),
    )
    return otel.set_span_in_context(otel.NonRecordingSpan(parent), Context())
