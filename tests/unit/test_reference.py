"""The reference pages are what the code says. `python docs/generate.py` writes those that are made from it."""

import os
import runpy
from pathlib import Path

import pytest

from worker.jobs.audit import Action
from worker.store.tables import AuditRow
from worker.store.verification import Kind

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"
MADE = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", MADE["PAGES"])
def test_the_page_is_what_the_code_says(name):
    file, page = REFERENCE / name, MADE["PAGES"][name]()
    if os.environ.get("PATHLANE_WRITE_REFERENCE"):
        file.write_text(page)
    assert file.read_text() == page


def test_the_page_of_the_audit_has_every_action_and_column():
    page = (REFERENCE / "audit.md").read_text()
    for word in (*Action, *AuditRow.__table__.columns.keys(), *Kind):
        assert f"`{word}`" in page


def test_every_setting_says_its_meaning():
    sections = MADE["SECTIONS"].values()
    assert all(field.description for section in sections for field in section.model_fields.values())
