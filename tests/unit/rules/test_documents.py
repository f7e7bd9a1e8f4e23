"""The documents say what the program reads."""

import re

import pytest

from integrations.hl7.profiles import FIELDS, IGNORED, PROFILES
from integrations.rules import document, patterns, schema
from integrations.rules.reading import read_rules
from tests.unit.rules.given import ROOT
from worker.jobs.order import Verb

REFERENCE = (ROOT / "docs" / "reference" / "rules.md").read_text()
HOW_TO = (ROOT / "docs" / "how-to" / "triage.md").read_text()

TABLES = {
    "## The file": schema.RulesFile,
    "## A protocol": schema.ProtocolPart,
    "## A question": schema.QuestionPart,
    "## A sender": schema.SenderPart,
    "## A rule": schema.RulePart,
    "### `match`": schema.MatchPart,
}


@pytest.mark.parametrize("title", TABLES)
def test_the_reference_has_every_key_and_no_other(title):
    section = re.split(r"^##", REFERENCE.split(f"{title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(TABLES[title].model_fields)


@pytest.mark.parametrize("title", [title for title in TABLES if title != "### `match`"])
def test_the_reference_says_which_keys_must_be_given(title):
    section = re.split(r"^##", REFERENCE.split(f"{title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    needed = re.findall(r"^\| `(\w+)` \|.*\| must be given \|$", section, re.MULTILINE)
    assert needed == [name for name, field in TABLES[title].model_fields.items() if field.is_required()]


def test_the_reference_has_the_limits_of_the_program():
    assert f"{document.MOST_CHARACTERS:,} characters" in REFERENCE
    assert f"{patterns.MOST_TEXT:,} characters" in REFERENCE
    assert f"up to {patterns.MOST_CHARACTERS} characters" in REFERENCE
    assert f"{patterns.MOST_STEPS:,} steps" in " ".join(REFERENCE.split())


def test_the_reference_has_the_words_of_the_hl7_room():
    words = set(re.findall(r"`([\w-]+)`", REFERENCE.split("## A sender\n", 1)[1].split("\n## ")[0]))
    assert words >= {*FIELDS, *PROFILES, *Verb, IGNORED}


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", HOW_TO, re.DOTALL), ids=["shadow", "live"])
def test_the_files_of_the_how_to_are_valid(text):
    assert read_rules(text, "rules.yaml").rules[0].name == "biopsies"
