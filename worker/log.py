"""Logging: one event name and a few fields a line; only fields on the list get out.

In: an event name (`job.claimed`) and fields. Out: JSON lines on standard error, or readable ones on a
terminal. This is where text about a case ends: a field that is not listed here is dropped.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

LOGGABLE = frozenset({
    "event", "level", "timestamp", "logger", "room", "program",
    "job_id", "trace_id", "attempt", "priority", "status", "outcome", "worker_id", "delivery_id",
    "endpoint_id", "event_type", "channel", "code", "retryable", "reason", "kind", "where", "http_status",
    "seconds", "wait", "tokens", "rows", "count", "jobs", "seq", "digest",
    "pid", "device", "slots", "model", "engine", "url_host", "host", "port", "signal", "exit_status", "child",
    "method", "route", "version", "database", "request_id",
})  # fmt: skip

_LIBRARIES = (
    "celery",
    "kombu",
    "sqlalchemy",
    "httpx",
    "httpcore",
    "uvicorn",
    "alembic",
    "transformers",
    "PIL",
    "pydicom",
    "pynetdicom",
    "highdicom",
    "opentelemetry",
)


def only_listed_fields(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: drops every field that is not in LOGGABLE."""
    return {name: value for name, value in event.items() if name in LOGGABLE}


class LibraryHandler(logging.Handler):
    """Records of other libraries: their name and level only, since their text may quote anything."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        where = f"{record.module}:{record.lineno}"
        fields = {"logger": record.name, "where": where} | ({"kind": kind} if kind else {})
        structlog.get_logger().log(record.levelno, "library.message", **fields)


def _said_by(program: str) -> structlog.typing.Processor:
    """On the lines of all threads: what is bound to a context is known to one."""

    def say(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["program"] = program
        return event

    return say


def configure(program: str, level: str = "info") -> None:
    """Set up logging for one program. Called by entrances, once."""
    pretty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _said_by(program),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_listed_fields,
            structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # A line and its end in one piece, for programs share their output.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [LibraryHandler(level=logging.WARNING)]
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger for a module. It binds nothing yet: once bound, it would keep its processors for ever."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=name)
    return logger


def kind_and_place(error: BaseException) -> dict[str, str]:
    """What may be said of an unforeseen error: its class, and the line it came from; never its text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
    return {"kind": type(error).__name__, "where": place}
