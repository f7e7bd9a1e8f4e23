"""Traces: off unless asked for, and what a span may say."""

import subprocess
import sys

import pytest

from worker import traces
from worker.jobs.trace import trace_of
from worker.traces import Span, SpanName


@pytest.fixture
def told():
    spans = []
    traces.install(spans.append)
    yield spans
    traces.install()


def a_span(**attributes):
    return Span(
        name=SpanName.READ, job_id="job_1", trace=trace_of("job_1"), began=1, ended=2, attributes=attributes
    )


def python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=150)


def test_an_attribute_that_is_not_listed_is_dropped():
    span = a_span(priority="stat", question="Canary", code=None)
    assert span.told == {"priority": "stat"}


def test_without_a_collector_nothing_is_told_and_log_lines_are_as_before():
    assert not traces.is_on()
    assert traces.log_context("job_1", None) == {}
    traces.tell(a_span())


def test_with_one_log_lines_name_the_trace(told):
    assert traces.log_context("job_1", None) == {"trace_id": trace_of("job_1").name}
    traces.tell(a_span())
    assert [span.name for span in told] == ["read"]


@pytest.mark.parametrize(
    "program", ["worker.account", "integrations.http_api.__main__", "integrations.courier"]
)
def test_without_a_collector_no_exporter_is_even_imported(program):
    """FastAPI and redis-py import the SDK all the same, where it is installed."""
    ended = python(
        f"import sys, {program}\nfrom worker import traces\ntraces.configure('x', '')\n"
        "print('opentelemetry.exporter' in sys.modules, 'worker.otlp' in sys.modules)"
    )
    assert ended.stdout.split() == ["False", "False"], ended.stderr


def test_a_collector_without_the_extra_is_a_settings_error():
    ended = python(
        "import sys\nsys.modules['opentelemetry'] = None\nfrom worker import traces\n"
        "traces.configure('x', 'http://127.0.0.1:4318/v1/traces')"
    )
    assert "SettingsError: PATHLANE_TRACES_URL: the extra `traces` is not installed" in ended.stderr
