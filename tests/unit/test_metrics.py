"""Metrics: names by convention, labels of closed sets, and files that name nothing that is not there."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import free_port
from tests.builders import a_reading, a_request
from worker import account, metrics
from worker.errors import PathlaneError
from worker.jobs.job import Job, Status

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations"
ALERTS = yaml.safe_load((OPERATIONS / "prometheus-alerts.yml").read_text())
DASHBOARD = json.loads((OPERATIONS / "grafana-dashboard.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PROGRAMS = tuple(metrics.Program)


def page(*programs):
    return generate_latest(metrics.registry_of(*programs)).decode()


def samples(*programs):
    families = text_string_to_metric_families(page(*programs))
    return {sample.name for family in families for sample in family.samples}


def every_error(kind=PathlaneError):
    return {kind, *(deep for child in kind.__subclasses__() for deep in every_error(child))}


def queries():
    return [rule["expr"] for rule in RULES] + [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
    ]


def test_names_say_whose_they_are_and_in_which_unit():
    for family in metrics.FAMILIES:
        (described,) = family.metric.describe()
        assert re.fullmatch(r"pathlane(_[a-z]+)+", described.name)
        assert described.documentation.endswith(".")
        if described.type == "histogram":
            assert described.name.endswith("_seconds")
        assert not re.search(r"_(ms|minutes|hours|milliseconds)\b", described.name)


def test_labels_have_closed_sets_of_values():
    known = {"priority", "stage", "outcome", "channel", "status", "seen_by", "code"}
    for family in metrics.FAMILIES:
        assert set(family.metric._labelnames) == set(family.labels)
        assert set(family.labels) <= known
        assert all(values or label == "code" for label, values in family.labels.items())


def test_every_series_of_a_closed_set_is_there_before_anything_happens():
    """A counter that appears with its first event has no rate for it."""
    text = page(metrics.Program.COURIER)
    assert 'pathlane_delivery_attempts_total{channel="hl7",status="exhausted"}' in text
    assert 'pathlane_lease_losses_total{seen_by="sweep"}' in text


def test_a_program_answers_for_itself_alone():
    assert "pathlane_queue_depth" in samples(metrics.Program.GATEWAY)
    assert "pathlane_queue_depth" not in samples(metrics.Program.WORKER)
    assert "pathlane_slots_used" not in samples(metrics.Program.GATEWAY)


def test_every_program_has_a_port_of_its_own():
    places = [program.place for program in PROGRAMS]
    assert len(set(places)) == len(places)
    assert max(places) == metrics.Program.WORKER.place, "behind it are as many as a host has GPUs"


def test_it_is_answered_over_http_on_loopback():
    port = free_port() - metrics.Program.COURIER.place
    metrics.serve(metrics.Program.COURIER, host="127.0.0.1", port=port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port + 1}/metrics", timeout=5) as answer:
        assert b'pathlane_build_info{program="courier"' in answer.read()


def test_a_port_that_somebody_else_has_costs_the_metrics_and_nothing_else(capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        metrics.serve(metrics.Program.GATEWAY, host="127.0.0.1", port=taken.getsockname()[1])
    assert "metrics.not_served" in "".join(capsys.readouterr())


def test_the_files_name_only_metrics_that_exist():
    known = samples(*PROGRAMS)
    named = {name for query in queries() for name in re.findall(r"\bpathlane_[a-z_]+", query)}
    # A counter whose values of `code` are not known yet has no sample.
    assert named - known <= {"pathlane_attempts_failed_total", "pathlane_submissions_refused_total"}
    declared = {family.metric._name for family in metrics.FAMILIES}
    assert {name.removesuffix("_total") for name in named - known} <= declared
    assert len(named) > 15


def test_the_files_ask_for_labels_and_values_that_exist():
    values = {"job": {"pathlane"}}
    for family in metrics.FAMILIES:
        for label, closed in family.labels.items():
            values.setdefault(label, set()).update(closed)
    values["code"] = {error.code for error in every_error()}
    for query in queries():
        for label, _, asked in re.findall(r'([a-z_]+)(=~|!=|=)"([^"]*)"', query):
            assert set(asked.split("|")) <= values[label], query
        for labels in re.findall(r"by \(([^)]*)\)", query):
            assert {label.strip() for label in labels.split(",")} <= {*values, "le"}, query


def test_every_alert_says_what_is_wrong_and_how_bad_it_is():
    assert [set(group) for group in ALERTS["groups"]] == [{"name", "rules"}]
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) >= 10
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_every_panel_has_a_place_of_its_own_and_asks_for_something():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert taken.isdisjoint(cells)
        taken |= cells
        assert panel["targets"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_prometheus_itself_finds_nothing_wrong():
    checks = [["rules", "prometheus-alerts.yml"], ["config", "--syntax-only", "prometheus.yml"]]
    for check in checks:
        subprocess.run(["promtool", "check", *check], cwd=OPERATIONS, check=True, capture_output=True)
    subprocess.run(
        ["promtool", "check", "metrics"], input=page(*PROGRAMS).encode(), check=True, capture_output=True
    )


def a_job():
    from datetime import UTC, datetime

    return Job(
        id="job_1", status=Status.RUNNING, request=a_request(), submitter="lab", attempt=1, alone=False,
        cancel_requested=False, created_at=datetime.now(UTC), not_before=datetime.now(UTC), finished_at=None,
        error_code=None, error_text=None,
    )  # fmt: skip


def test_counting_costs_less_than_a_hundredth_of_a_case():
    """A case takes 2.5 s on a GPU at the least."""
    job, reading = a_job(), a_reading(timings={"imaging": 0.1, "engine": 0.5, "device": 0.2})
    began = time.process_time()
    for _ in range(100):
        at = account.claimed(job)
        account.read(job, reading, began=at)
        account.ended(job, reading, began=at)
    assert (time.process_time() - began) / 100 < 0.025
