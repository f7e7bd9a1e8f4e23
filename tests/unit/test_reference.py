"""The reference pages are what the code says. `PATHLANE_WRITE_REFERENCE=1 pytest tests/unit/test_reference.py` writes them."""

import inspect
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

import worker.errors
from integrations.http_api.problems import STATUSES
from worker import metrics, settings
from worker.errors import PathlaneError
from worker.jobs.audit import Action
from worker.store.tables import AuditRow
from worker.store.verification import Kind

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

SECTIONS = {
    "Store": settings.StoreSettings,
    "Queue": settings.QueueSettings,
    "Model": settings.ModelSettings,
    "Imaging": settings.ImagingSettings,
    "Telling": settings.DeliverySettings,
    "Gateway": settings.ApiSettings,
    "Hospital systems": settings.LisSettings,
    "Metrics and traces": settings.TelemetrySettings,
}


def settings_page():
    lines = [
        "# Settings",
        "",
        "Environment variables. `pathlane up --data DIR` sets those of an embedded store itself.",
        "",
    ]
    for title, section in SECTIONS.items():
        lines += [f"## {title}", "", "| variable | default | meaning |", "|---|---|---|"]
        for name, field in section.model_fields.items():
            lines.append(f"| `PATHLANE_{name.upper()}` | {default(field.default)} | {field.description} |")
        lines.append("")
    lines += ["## Logging", "", "| variable | default | meaning |", "|---|---|---|"]
    lines += ["| `PATHLANE_LOG_LEVEL` | `info` | `debug`, `info`, `warning` or `error`. |", ""]
    return "\n".join(lines)


def default(value):
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    shown = "" if value in ((), "") else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{shown}`" if shown else "none"


def errors_page():
    lines = [
        "# Errors",
        "",
        "`code` stands in a failed job's `error` and in a problem document (RFC 9457) of the API.",
        "",
    ]
    lines += ["| code | HTTP | tried again | sentence |", "|---|---|---|---|"]
    for error in vars(worker.errors).values():
        if inspect.isclass(error) and issubclass(error, PathlaneError):
            status = next(STATUSES[kind] for kind in error.__mro__ if kind in STATUSES)
            lines.append(
                f"| `{error.code}` | {status.value} | {'yes' if error.retryable else 'no'} | {error.__doc__.strip()} |"
            )
    return "\n".join([*lines, ""])


def metrics_page():
    lines = [
        "# Metrics",
        "",
        "What each program answers at `/metrics`, beside `pathlane_build_info` (its `version` and `program`) and the",
        "`process_*` of its process. Where they answer: [monitor](../how-to/monitor.md). A histogram is three series:",
        "`_bucket`, `_sum` and `_count`. The values of `code` are those of [errors](errors.md).",
        "",
        "| metric | type | answered by | labels | meaning |",
        "|---|---|---|---|---|",
    ]
    for family in metrics.FAMILIES:
        (described,) = family.metric.describe()
        name = described.name + ("_total" if described.type == "counter" else "")
        programs = ", ".join(family.programs)
        labels = "; ".join(
            f"`{label}`" + (f": {', '.join(values)}" if values else "")
            for label, values in family.labels.items()
        )
        lines.append(
            f"| `{name}` | {described.type} | {programs} | {labels or '-'} | {described.documentation} |"
        )
    return "\n".join([*lines, ""])


PAGES = [("settings.md", settings_page), ("errors.md", errors_page), ("metrics.md", metrics_page)]


@pytest.mark.parametrize(("name", "page"), PAGES)
def test_the_page_is_what_the_code_says(name, page):
    file = REFERENCE / name
    if os.environ.get("PATHLANE_WRITE_REFERENCE"):
        file.write_text(page())
    assert file.read_text() == page()


def test_the_page_of_the_audit_has_every_action_and_column():
    page = (REFERENCE / "audit.md").read_text()
    for word in (*Action, *AuditRow.__table__.columns.keys(), *Kind):
        assert f"`{word}`" in page


def test_every_setting_says_its_meaning():
    assert all(field.description for section in SECTIONS.values() for field in section.model_fields.values())
