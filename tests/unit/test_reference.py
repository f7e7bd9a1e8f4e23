"""The reference pages are what the code says. `python docs/generate.py` writes those that are made from it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from worker.jobs.audit import Action
from worker.store.tables import AuditRow
from worker.store.verification import Kind

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
MADE = runpy.run_path(str(DOCS / "generate.py"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By a process of its own: click keeps the help of a command that another test has run by itself."""
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, DOCS / "generate.py", folder], cwd=ROOT, check=True, timeout=150)
    return folder


@pytest.mark.parametrize("name", MADE["PAGES"])
def test_the_page_is_what_the_code_says(name, made):
    assert (REFERENCE / name).read_text() == (made / name).read_text()


def test_the_page_of_the_audit_has_every_action_and_column():
    page = (REFERENCE / "audit.md").read_text()
    for word in (*Action, *AuditRow.__table__.columns.keys(), *Kind):
        assert f"`{word}`" in page


def test_every_setting_says_its_meaning():
    sections = MADE["SECTIONS"].values()
    assert all(field.description for section in sections for field in section.model_fields.values())
