"""The conformance statement says what the code does."""

import re
from pathlib import Path

from integrations.hl7.acknowledgement import ANSWERS, JUDGEMENTS
from integrations.hl7.charset import CHARSETS
from integrations.hl7.message import MOST_SEGMENTS
from integrations.hl7.mllp import Limits
from integrations.hl7.profiles import CLASSIC, FIELDS, IHE_DPOW, PROFILES, REPORTS
from integrations.hl7.triggers import read_trigger
from integrations.hl7.units import MOST_UNITS
from worker.jobs.order import Verb

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "conformance-hl7.md").read_text()


def rows(*headings):
    """Cells of the first table whose head starts so."""
    lines = PAGE[PAGE.index("| " + " | ".join(headings)) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def told_triggers(start):
    """The triggers of the table after a paragraph that starts with `start`, in their order."""
    found = []
    for line in PAGE[PAGE.index(start) :].split("\n\n")[1].splitlines()[2:]:
        cells = line.strip("|").split("|")
        word = cells[1].split()[0]
        verb = None if word == "ignored" else Verb(word)
        found += [read_trigger(trigger, verb) for trigger in re.findall(r"`([^`]+)`", cells[0])]
    return found


def test_the_triggers_of_each_profile_are_told_in_their_order():
    everywhere = told_triggers("**Every profile**")
    told = {
        IHE_DPOW: told_triggers("**Profile `ihe-dpow`**"),
        CLASSIC: told_triggers("**Profile `classic`**"),
        REPORTS: told_triggers("**Profile `reports`**"),
    }
    for profile, own in told.items():
        assert list(profile.triggers) == own + everywhere, profile.name
    assert {profile.name for profile in told} == set(PROFILES)


def test_the_fields_and_their_paths_are_told():
    told = {cells[1].strip("`"): cells[2] for cells in rows("meaning", "name in `fields`")}
    assert set(told) == set(FIELDS)
    for name in FIELDS:
        for path in getattr(IHE_DPOW, name):
            assert path in told[name], name
        for path in (*getattr(CLASSIC, name), *getattr(REPORTS, name)):
            assert path in told[name], name


def test_the_judgement_of_each_kind_of_error_is_told():
    told = {(f"A{one.verdict}", one.condition) for one in JUDGEMENTS.values()}
    table = {(cells[1], cells[2]) for cells in rows("refused because")}
    assert table == told - {("AR", "207")}


def test_the_answers_are_told():
    told = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("message", "the application's")}
    assert told.items() >= {"^".join(kind): "^".join(answer[:2]) for kind, answer in ANSWERS.items()}.items()


def test_the_limits_and_character_sets_are_told():
    limits = Limits()
    for number in (
        f"{MOST_SEGMENTS:,}",
        str(MOST_UNITS),
        str(limits.connections),
        f"{limits.message_seconds:.0f} s",
    ):
        assert f"| {number}" in PAGE
    assert all(f"`{name}`" in PAGE or re.fullmatch(r"8859/[2-8]", name) for name in CHARSETS)
