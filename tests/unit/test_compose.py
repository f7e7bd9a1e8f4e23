"""docker-compose.yml against the Compose specification, and against what the code knows."""

import json
import re
from pathlib import Path

import click
import pytest
import yaml
from jsonschema import Draft201909Validator

from integrations.cli import main
from tests.unit.test_reference import MADE

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
KNOWN = {f"PATHLANE_{name.upper()}" for section in MADE["SECTIONS"].values() for name in section.model_fields}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_file_is_valid_by_the_specifications_schema(compose):
    Draft201909Validator.check_schema(SCHEMA)
    problems = [f"{list(e.path)}: {e.message}" for e in Draft201909Validator(SCHEMA).iter_errors(compose)]
    assert problems == []


def test_the_schema_can_fail(compose):
    broken = compose | {"services": {"worker": {"imagee": "x"}}}
    assert list(Draft201909Validator(SCHEMA).iter_errors(broken))


def test_the_five_services_are_there_and_every_long_lived_one_has_a_health_check(compose):
    services = compose["services"]
    assert set(services) == {"redis", "postgres", "migrate", "gateway", "worker"}
    assert all("healthcheck" in services[name] for name in set(services) - {"migrate"})
    assert services["worker"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_every_setting_in_it_is_one_the_code_reads():
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / ".env.example").read_text()
    assert set(re.findall(r"PATHLANE_[A-Z_]+[A-Z]", text)) <= KNOWN


def test_every_command_in_it_exists(compose):
    ours = [
        service["command"]
        for service in compose["services"].values()
        if isinstance(service.get("command"), list)
    ]
    assert {command[1] for command in ours} == {"migrate", "gateway", "worker"}
    context = click.Context(main)
    assert all(main.get_command(context, command[1]) is not None for command in ours)


def test_the_gateways_image_is_built_without_torch():
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"^(torch|transformers|pillow)==", lock, re.MULTILINE)
    assert re.search(r"^torch==", (ROOT / "requirements-worker.lock").read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-worker.lock", "requirements-dev.lock"])
def test_a_lock_has_hashes_and_no_addresses_and_nothing_gpl(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert all(
        "--hash" in text[m.end() : m.end() + 300]
        for m in re.finditer(r"^[a-z0-9-]+==\S+", text, re.MULTILINE)
    )
    assert not re.search(r"^pylibjpeg-libjpeg==", text, re.MULTILINE)
    assert all("'never'" in line for line in text.splitlines() if line.startswith("av=="))
