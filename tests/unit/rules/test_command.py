"""`pathlane rules check | explain | test`."""

import json

import pytest
from click.testing import CliRunner

from integrations.commands.rules import rules
from integrations.rules.reading import open_rules
from tests.unit.rules.given import EXAMPLE

LAB_104 = r"""
MSH|^~\&|IMA|PATH|AIWORKER|PATH|20261123100000+0000||OML^O21^OML_O21|MSG00001|P|2.5.1|||AL|NE||UNICODE UTF-8|||DPOW-IMAGE-NOTIF^IHE
PID|||CANARY1^^^HIS&1.2.3&ISO||CANARY2^CANARY3||19000101|F
ORC|SC||CANARY4||IP
TQ1|1||||||||S^Stat^HL70485
OBR|1||CANARY4|FS^Intraoperative consultation^L
SPM|1|CANARY5|CANARY6|TISS^Tissue^HL70487||||80248007^Breast^SCT||||||||||20261123095500||Y||||||||||CANARY4
OBX|1|RP|StudyInstanceUID^^DCM||1.2.3.4.5||||||F
OBX|2|RP|SeriesInstanceUID^^DCM||1.2.3.4.6||||||F
""".lstrip().replace("\n", "\r")

SCAN_DONE = r"""
MSH|^~\&|LABSYS7|X|P|P|20261123||ORU^R01|1|P|2.3
PID|||1
OBR|1||S26-1|P1^Punch biopsy^L||||||||||||||||S26-1-A
OBX|1|ST|SCAN||done||||||F
""".lstrip().replace("\n", "\r")

BUNDLE = {
    "resourceType": "Bundle",
    "type": "collection",
    "entry": [
        {"resource": resource}
        for resource in [
            {"resourceType": "ServiceRequest", "id": "r", "status": "active", "intent": "order",
             "priority": "urgent", "subject": {"reference": "Patient/p"},
             "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": "CANARY1"}],
             "code": {"text": "Core needle biopsy"}, "specimen": [{"reference": "Specimen/s"}]},
            {"resourceType": "Specimen", "id": "s", "identifier": [{"value": "CANARY2"}],
             "accessionIdentifier": {"value": "CANARY1"}, "type": {"text": "Slide"},
             "collection": {"bodySite": {"text": "Breast"}}},
            {"resourceType": "Patient", "id": "p", "identifier": [{"value": "CANARY3"}],
             "name": [{"family": "CANARY4"}]},
        ]
    ],
}  # fmt: skip


@pytest.fixture
def run():
    def called(*words, given=None):
        return CliRunner().invoke(rules, [str(word) for word in words], input=given, catch_exceptions=False)

    return called


@pytest.fixture
def message(tmp_path):
    def written(text, name="message.hl7"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return written


def test_check_says_that_a_file_is_valid_and_which_one(run):
    result = run("check", EXAMPLE)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "rules.yaml is valid: 3 rules, 2 protocols, 2 senders", open_rules(EXAMPLE).digest,
    ]  # fmt: skip


def test_check_lists_every_mistake_on_a_line_of_its_own(run, message):
    file = message("version: 1\nrulez: []\nrules:\n  - {name: a, ask: b, mode: live}\n", "site.yaml")
    result = run("check", file)
    assert result.exit_code == 78
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [
        "site.yaml:2", "site.yaml:4", "site.yaml:4", "pathlane",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("profile: classic", "profile: modern", "senders[1].profile"),
        ("      slide: OBR-19", "      glass: OBR-19", "senders[1].fields.glass"),
        ("      closed: ORU", "      ended: ORU", "senders[1].triggers.ended"),
        ("ORU^R01 where OBR-25=F", "ORU^R01 where OBR-25", "senders[1].triggers.closed"),
        ("OBX-3.1: SCAN", "OBX: SCAN", "senders[1].scan_done.OBX"),
        ("Europe/Berlin", "Middle/Earth", "senders[1].time_zone"),
    ],
)
def test_check_knows_what_the_hl7_room_can_do(run, message, old, new, place):
    text = EXAMPLE.read_text()
    line = text[: text.index(old)].count("\n") + 1
    result = run("check", message(text.replace(old, new), "site.yaml"))
    assert result.stderr.startswith(f"site.yaml:{line}: {place}: ")


def test_a_key_of_hl7_is_refused_for_another_channel(run, message):
    file = message("version: 1\nsenders:\n  - {name: a, channel: fhir, charset: ASCII}\n", "site.yaml")
    assert "site.yaml:3: senders[0].charset: is for senders of the channel hl7" in run("check", file).stderr


def test_explain_prints_what_a_site_asks(run):
    assert "1. frozen-section (live): When sender is" in run("explain", "--rules", EXAMPLE).stdout
    document = json.loads(run("explain", "--rules", EXAMPLE, "--json").stdout)
    assert [rule["name"] for rule in document["rules"]] == [
        "frozen-section",
        "breast-biopsy",
        "everything-else",
    ]


def test_test_says_what_a_lab_104_message_would_submit_and_nothing_of_the_patient(run, message):
    result = run("test", message(LAB_104), "--rules", EXAMPLE)
    assert result.exit_code == 0
    assert "HL7 order: slide available, stat priority." in result.stdout
    assert "  + frozen-section: sender is `archive`" in result.stdout
    assert "1. frozen-section asks malignancy version 2, stat priority; tell lis" in result.stdout
    assert "CANARY" not in result.output
    (told,) = json.loads(run("test", message(LAB_104), "--rules", EXAMPLE, "--json").stdout)
    assert [(one["name"], one["priority"], one["mode"], one["tell"]) for one in told["submitted"]] == [
        ("malignant", "stat", "live", ["lis"]), ("reason", "stat", "live", ["lis"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "saved", [LAB_104.replace("\r", "\n"), f"\x0b{LAB_104}\x1c\r", LAB_104.replace("\r", "\r\n")]
)
def test_a_message_is_read_however_it_was_saved(run, message, saved):
    told = json.loads(run("test", message(saved), "--rules", EXAMPLE, "--json").stdout)
    assert [one["rule"] for one in told] == ["frozen-section"]


def test_a_message_comes_from_the_standard_input_too(run):
    assert "frozen-section asks" in run("test", "-", "--rules", EXAMPLE, given=LAB_104.encode()).stdout


def test_a_test_message_would_be_told_to_nobody(run, message):
    result = run("test", message(LAB_104.replace("|P|2.5.1", "|T|2.5.1")), "--rules", EXAMPLE)
    assert "HL7 test order" in result.stdout
    assert "tell nobody (shadow)" in result.stdout


def test_an_image_that_is_gone_submits_nothing(run, message):
    result = run("test", message(LAB_104.replace("||Y||", "||N||")), "--rules", EXAMPLE)
    assert "Nothing would be submitted: no image becomes available." in result.stdout


def test_the_senders_own_fields_and_codes_are_used(run, message):
    (told,) = json.loads(run("test", message(SCAN_DONE), "--rules", EXAMPLE, "--json").stdout)
    assert (told["verb"], told["rule"]) == ("available", "everything-else")
    assert told["rules"][1]["reason"] == "the order names no stain; the order names no body site"


def test_a_message_that_is_refused_says_why_and_quotes_nothing(run, message):
    result = run("test", message(LAB_104.replace("OML^O21^OML_O21", "ZZZ^Z01")), "--rules", EXAMPLE)
    assert result.exit_code == 2
    assert "CANARY" not in result.output
    assert result.stderr.startswith("pathlane: ")


def test_fhir_resources_are_read_as_one_case(run, message):
    (told,) = json.loads(
        run("test", message(json.dumps(BUNDLE), "b.json"), "--rules", EXAMPLE, "--json").stdout
    )
    assert (told["channel"], told["verb"], told["ordered_priority"]) == ("fhir", "registered", "urgent")
    assert told["names"] == ["procedure", "specimen type", "body site"]
    files = [message(json.dumps(entry["resource"]), f"{n}.json") for n, entry in enumerate(BUNDLE["entry"])]
    result = run("test", *files, "--rules", EXAMPLE, "--json")
    assert json.loads(result.stdout) == [told]
    assert "CANARY" not in result.output


def test_the_biopsy_case_is_read(run, shared_data):
    files = sorted((shared_data / "fhir" / "mii_patho_prostate_biopsy").glob("*.json"))
    result = run("test", *files, "--rules", EXAMPLE)
    assert "FHIR order: slide registered" in result.stdout


def test_json_that_is_no_resource_is_refused(run, message):
    for text in ("{", "{}", '{"a": ' * 100_000):
        assert run("test", message(text), "--rules", EXAMPLE).exit_code == 2


def test_without_rules_the_setting_is_named(run, monkeypatch):
    monkeypatch.delenv("PATHLANE_RULES", raising=False)
    result = run("explain")
    assert result.exit_code == 78
    assert "PATHLANE_RULES" in result.stderr


def test_the_setting_names_the_rules(run, monkeypatch):
    monkeypatch.setenv("PATHLANE_RULES", str(EXAMPLE))
    assert "1. frozen-section" in run("explain").stdout
