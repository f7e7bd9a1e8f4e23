"""What a result says, read back with python-hl7; and that no text can say more than its own field."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.hl7.message import parse
from integrations.hl7.orders import Ignored, read_orders
from integrations.hl7.profiles import profile_of
from integrations.hl7.result_codes import OBSERVATIONS, OUTCOMES, TRIAGE
from integrations.hl7.results import PIECE_LENGTH, control_id_of, result_message
from tests.builders import a_reading
from worker.jobs.order import (
    Channel,
    Code,
    Order,
    Patient,
    Question,
    Result,
    Sender,
    TriageClass,
    Verb,
)
from worker.jobs.reading import RESEARCH_USE, ReadingOutcome
from worker.jobs.request import Priority

NOW = datetime(2026, 11, 23, 10, 1, tzinfo=UTC)
PATIENT = Patient(
    id="1234567890", authority="HIS&1.2.3&ISO", family="MÜLLER", given="ZOË", birth_date="19000101", sex="F"
)
KINDS = ("ORU^R01", "OUL^R22")


def an_order(**fields) -> Order:
    known = {
        "verb": Verb.AVAILABLE, "sender": Sender(channel=Channel.HL7, application="IMA"),
        "accession": "S26-0001", "slide": "S26-0001-A1-01", "block": "S26-0001-A1", "placer_order": "P-77",
        "filler_order": "F-88", "procedure": Code(code="687891.024", text="Digital AP Study", system="L"),
        "body_site": Code(code="80248007", text="Breast", system="http://snomed.info/sct"),
        "study_uid": "1.2.3.4.5", "patient": PATIENT,
    }  # fmt: skip
    return Order(**known | fields)


def a_question(**fields) -> Question:
    known = {
        "protocol": "breast", "version": 3, "name": "stain", "text": "Which stain is shown?",
        "options": ("Hematoxylin and eosin", "DAB"), "triage": {"dab": "stat"},
    }  # fmt: skip
    return Question(**known | fields)


def a_result(**fields) -> Result:
    known = {
        "job_id": "job_2", "order": an_order(), "question": a_question(), "triage": TriageClass.STAT,
        "priority": Priority.STAT, "supersedes": None, "observed_at": NOW - timedelta(seconds=30),
    }  # fmt: skip
    return Result(**known | fields)


def written(result=None, reading=None, **options) -> bytes:
    known = {
        "control_id": "0123456789ABCDEFGHJK", "at": NOW, "kind": "ORU^R01", "sending": ("PATHLANE", "PATH"),
        "receiving": ("LIS", "LAB"), "test": False,
    }  # fmt: skip
    return result_message(result or a_result(), reading or a_reading(), **known | options)


def read(*arguments, **options) -> hl7.Message:
    return hl7.parse(written(*arguments, **options).decode())


def observed(message: hl7.Message) -> dict[str, hl7.Segment]:
    return {str(obx[3][0][0]): obx for obx in message.segments("OBX")}


def value(message: hl7.Message, code: str) -> str:
    return message.unescape(str(observed(message)[code][5]))


def notes(message: hl7.Message) -> list[str]:
    return [message.unescape(str(nte[3])) for nte in message.segments("NTE")]


def test_the_header_says_who_sends_what_to_whom():
    msh = read().segment("MSH")
    assert [str(msh[n]) for n in (3, 4, 5, 6)] == ["PATHLANE", "PATH", "LIS", "LAB"]
    assert str(msh[7]) == "20261123100100+0000"
    assert str(msh[9]) == "ORU^R01^ORU_R01"
    assert [str(msh[n]) for n in (10, 11, 12)] == ["0123456789ABCDEFGHJK", "P", "2.5.1"]
    assert [str(msh[n]) for n in (15, 16)] == ["", ""]  # original mode
    assert str(msh[18]) == "UNICODE UTF-8"


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("ORU^R01", ["MSH", "PID", "ORC", "OBR", "NTE", "TQ1", "OBX", "SPM"]),
        ("OUL^R22", ["MSH", "PID", "SPM", "OBR", "ORC", "NTE", "TQ1", "OBX"]),
    ],
)
def test_segments_stand_in_the_order_of_the_message_structure(kind, order):
    message = read(kind=kind)
    assert list(dict.fromkeys(str(segment[0]) for segment in message)) == order
    assert str(message.segment("MSH")[9]) == f"{kind}^{kind.replace('^', '_')}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_lab_finds_its_patient_its_order_and_its_slide(kind):
    message = read(kind=kind)
    assert str(message.segment("PID")[3]) == "1234567890^^^HIS&1.2.3&ISO"
    assert str(message.segment("PID")[5]) == "MÜLLER^ZOË"
    assert [str(message.segment("PID")[n]) for n in (7, 8)] == ["19000101", "F"]
    assert [str(message.segment("ORC")[n]) for n in (1, 2, 3, 38)] == ["RE", "P-77", "F-88", "S26-0001"]
    obr = message.segment("OBR")
    assert [str(obr[n]) for n in (2, 3, 4)] == ["P-77", "F-88", "687891.024^Digital AP Study^L"]
    assert [str(obr[n]) for n in (20, 22, 25)] == ["S26-0001", "20261123100030+0000", "P"]
    spm = message.segment("SPM")
    assert str(spm[2]) == "S26-0001-A1-01^S26-0001-A1-01"
    assert str(spm[3]) == "S26-0001-A1^S26-0001-A1"
    assert [str(spm[n]) for n in (4, 8, 30)] == ["TISS^Tissue^HL70487", "80248007^Breast^SCT", "S26-0001"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("priority", Priority)
def test_what_we_write_we_read_as_the_same_order(kind, priority):
    """By a profile that takes results for orders, as a site's own may."""
    told = an_order(
        priority=priority, specimen_type=Code(code="TISS", text="Tissue", system="HL70487"),
        body_site=Code(code="80248007", text="Breast", system="SCT"), study_uid="",
    )  # fmt: skip
    (found,) = read_orders(
        parse(written(a_result(order=told, priority=priority), kind=kind)),
        profile_of("classic", triggers={"available": [kind]}),
    )
    ours = Sender(channel=Channel.HL7, application="PATHLANE", facility="PATH")
    assert replace(found, occurred_at=None) == replace(told, sender=ours)


@pytest.mark.parametrize("name", ["classic", "reports"])
@pytest.mark.parametrize("kind", KINDS)
def test_our_own_results_order_nothing_and_close_nothing(kind, name):
    assert isinstance(read_orders(parse(written(kind=kind)), profile_of(name)), Ignored)


def test_what_the_order_did_not_say_is_not_made_up():
    bare = Order(verb=Verb.AVAILABLE, sender=Sender(channel=Channel.FHIR, application="fhir"), accession="S1")
    message = read(a_result(order=bare))
    assert "PID" not in [str(segment[0]) for segment in message]
    assert str(message.segment("ORC")[2]) == ""
    assert str(message.segment("OBR")[3]) == "S1"  # a filler number is required: the accession
    assert str(message.segment("OBR")[4]) == "SLIDE-READING^Slide reading^99PATHLANE"
    assert not {"STUDY", "SERIES", "SUPERSEDES"} & set(observed(message))


def test_the_answer_is_the_option_with_the_models_own_words_beside_it():
    obx = observed(read())["ANSWER"]
    assert str(obx[2]) == "CWE"
    assert [str(part) for part in obx[5][0]] == ["B", "DAB", "99PATHLANE", "", "", "", "", "", "B. DAB"]


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        ("Probably DAB", "ST", "Probably DAB"),
        ("Two lines\nof text", "FT", "Two lines\rof text"),
        ("x" * 200, "FT", "x" * 200),
        ('""', "ST", '" "'),  # as it stands it would mean: delete what you have
    ],
)
def test_an_answer_in_words_stands_as_text(answer, kind, told):
    message = read(reading=a_reading(answer=answer, choice=None))
    assert str(observed(message)["ANSWER"][2]) == kind
    assert value(message, "ANSWER") == told


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_preliminary_timed_and_of_the_model(kind):
    message = read(kind=kind)
    assert str(message.segment("OBR")[25]) == "P"
    for number, obx in enumerate(message.segments("OBX"), start=1):
        assert str(obx[1]) == str(number)
        assert str(obx[3][0][2]) == "99PATHLANE"
        assert str(obx[3][0][1]) == OBSERVATIONS[str(obx[3][0][0])]
        assert str(obx[11]) == "P"
        assert str(obx[14]) == "20261123100030+0000"
        assert str(obx[17][0][0]) == "VLM"
        assert str(obx[18]) == "demo^99PATHLANE"


def test_where_it_comes_from_can_be_traced():
    message = read(a_result(supersedes="job_1"))
    told = {code: value(message, code) for code in observed(message)}
    assert told.items() >= {
        "OUTCOME": "ANSWERED^Answered^99PATHLANE", "PROTOCOL": "breast", "PROTOCOL-VERSION": "3",
        "QUESTION-NAME": "stain", "QUESTION": "Which stain is shown?", "MODEL": "demo", "WEIGHTS": "sha256:cc",
        "LICENSE": "Apache-2.0", "NOTICE": "Demonstration model: not a medical statement.", "JOB": "job_2",
        "SUPERSEDES": "job_1", "STUDY": "1.2.3.4.5",
    }.items()  # fmt: skip


def test_the_notes_say_what_it_is_and_what_it_replaces():
    first, *rest = notes(read(a_result(supersedes="job_1")))
    assert first == RESEARCH_USE
    assert rest == [
        "Demonstration model: not a medical statement.",
        "The answer raises the priority from routine to stat.",
        "This replaces the earlier reading of job job_1.",
    ]


@pytest.mark.parametrize(
    ("triage", "priority", "code", "timing"),
    [
        (TriageClass.STAT, Priority.STAT, "STAT", "S^Stat^HL70485"),
        (TriageClass.URGENT, Priority.URGENT, "URGENT", "A^ASAP^HL70485"),
        (TriageClass.FLAG, Priority.ROUTINE, "FLAG", "R^Routine^HL70485"),
        (TriageClass.NOTHING, Priority.ROUTINE, "NOTHING", "R^Routine^HL70485"),
    ],
)
def test_the_triage_class_and_the_priority_after_it(triage, priority, code, timing):
    message = read(a_result(triage=triage, priority=priority))
    assert str(observed(message)["TRIAGE"][5][0][0]) == code
    assert str(message.segment("TQ1")[9]) == timing


@given(
    ordered=st.sampled_from(Priority),
    judged=st.sampled_from(Priority),
    outcome=st.sampled_from(ReadingOutcome),
)
def test_the_priority_told_is_never_lower_than_the_labs_own(ordered, judged, outcome):
    result = a_result(order=an_order(priority=ordered), priority=judged)
    message = read(result, a_reading(outcome=outcome))
    told = "SAR".index(str(message.segment("TQ1")[9][0][0]))
    assert told <= ordered.level
    if outcome is not ReadingOutcome.ANSWERED:
        assert told == ordered.level


@pytest.mark.parametrize("outcome", [one for one in ReadingOutcome if one is not ReadingOutcome.ANSWERED])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reading_without_an_answer_says_so_and_leaves_the_labs_order(outcome, kind):
    reading = a_reading(outcome=outcome, answer="", choice=None, reasoning="Half a thou")
    message = read(a_result(), reading, kind=kind)
    obx = observed(message)
    assert [str(obx["ANSWER"][n]) for n in (2, 5, 11)] == ["", "", "X"]
    assert str(obx["TRIAGE"][5][0][0]) == "NOTHING"
    assert str(obx["OUTCOME"][5][0][0]) == outcome.name
    assert "REASONING" not in obx
    assert str(message.segment("TQ1")[9][0][0]) == "R"
    assert "No answer was given. The order's own priority stands." in notes(message)


@pytest.mark.parametrize(("test", "order"), [(True, an_order()), (False, an_order(is_test=True))])
def test_a_test_is_marked_as_one(test, order):
    assert str(read(a_result(order=order), test=test).segment("MSH")[11]) == "T"


def test_times_are_told_in_utc_and_a_time_without_its_zone_without_one():
    away = datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    scanned = datetime(2026, 11, 23, 9, 55)  # noqa: DTZ001
    message = read(a_result(observed_at=away, order=an_order(occurred_at=scanned)))
    assert str(message.segment("OBR")[22]) == "20261123100000+0000"
    assert str(message.segment("OBR")[7]) == "20261123095500"


@pytest.mark.parametrize(
    "reasoning",
    [
        "Brown chromogen.\n\nNo blue.\nDAB | then ^ ~ & \\ done",
        ("word " * 30 + "\n") * 90,
        "word " * 3000,
        "x" * 10_000,
        "\\" * 9000,
    ],
    ids=["lines", "many lines", "one long line", "one long word", "escapes"],
)
def test_long_reasoning_comes_in_numbered_pieces_that_are_the_whole_text(reasoning):
    message = read(reading=a_reading(reasoning=reasoning))
    pieces = [obx for obx in message.segments("OBX") if str(obx[3][0][0]) == "REASONING"]
    texts = [message.unescape(str(obx[5])) for obx in pieces]
    assert "".join(texts) == reasoning.replace("\n", "\r")
    assert [str(obx[4]) for obx in pieces] == [str(n) for n in range(1, len(pieces) + 1)]
    assert {str(obx[2]) for obx in pieces} == {"FT"}
    assert max(map(len, texts)) <= PIECE_LENGTH


def test_pieces_end_with_a_line_where_there_is_one():
    message = read(reading=a_reading(reasoning=("word " * 30 + "\n") * 90))
    first, *_ = [obx for obx in message.segments("OBX") if str(obx[3][0][0]) == "REASONING"]
    assert str(first[5]).endswith("\\.br\\")


#: what would begin a segment, a field, another frame or another line somewhere
hostile = st.one_of(
    st.text(),
    st.text(alphabet='|^~&\\\r\n\x0b\x1c\x1e\x85\u2028\u2029\t XFSTREHMN.br"0D'),
    st.sampled_from(
        [
            "fine\rOBX|99|ST|ANSWER||Malignant||||||F",
            "\x1c\r\x0bMSH|^~\\&|EVIL",
            "\\X0D\\OBX|",
            "\\.br\\",
            "a\\",
            "\\F\\",
            "\ud800",
        ]
    ),
)


def shape(message: bytes) -> list[tuple[str, ...]]:
    """Segment names, and how often each delimiter stands in each segment, by a plain split."""
    text = message.decode()
    assert not set(text) & set("\x0b\x1c\n\x00\x85\u2028\u2029")
    head, *segments = text.removesuffix("\r").split("\r")
    assert head.startswith("MSH|^~\\&|")
    return [(segment[:3], *(segment.count(mark) for mark in "|^~&")) for segment in [head[9:], *segments]]


PLACES = ("answer", "model", "license", "family", "given", "id", "accession", "slide")


@given(
    words=st.fixed_dictionaries(dict.fromkeys(PLACES, hostile)),
    place=st.sampled_from(PLACES),
    kind=st.sampled_from(KINDS),
)
def test_no_word_of_a_model_or_a_name_can_make_a_field_or_a_segment(words, place, kind):
    """The message has the same shape as one with plain words in the same places."""

    def message(texts: dict[str, str]) -> bytes:
        names = {name: texts[name] for name in ("family", "given", "id")}
        order = an_order(
            patient=replace(PATIENT, **names), accession=texts["accession"], slide=texts["slide"],
            procedure=Code(code=texts["family"], text=texts["answer"], system="L"),
        )  # fmt: skip
        reading = a_reading(answer=texts["answer"], choice="A")
        provenance = replace(reading.provenance, model=texts["model"], license=texts["license"])
        question = a_question(options=(texts["answer"], "other"), text="What?")
        return written(
            a_result(order=order, question=question), replace(reading, provenance=provenance), kind=kind
        )

    plain = dict.fromkeys(words, "plain")
    one_hostile = message(plain | {place: f"x{words[place]}x"})
    assert shape(one_hostile) == shape(message(plain))
    names = [segment.name for segment in parse(message(plain)).segments]
    for hostile_message in (one_hostile, message({place: f"x{word}x" for place, word in words.items()})):
        assert [segment.name for segment in parse(hostile_message).segments] == names
        assert [str(segment[0]) for segment in hl7.parse(hostile_message.decode())] == names


@given(reasoning=hostile, answer=hostile)
def test_reasoning_and_answers_are_read_back_as_they_were_but_for_what_no_line_can_hold(reasoning, answer):
    reading = a_reading(reasoning=f"x{reasoning}", answer=f"x{answer}", choice=None)
    message = read(reading=reading)
    read_back = "".join(
        message.unescape(str(obx[5])) for obx in message.segments("OBX") if str(obx[3][0][0]) == "REASONING"
    )
    assert letters(read_back) == letters(f"x{reasoning}")
    assert letters(value(message, "ANSWER")) == letters(f"x{answer}")
    assert {str(obx[11]) for obx in message.segments("OBX")} == {"P"}


def letters(text: str) -> str:
    """Everything but white space and control characters."""
    shown = text.encode("utf-8", "replace").decode()
    return "".join(one for one in shown if not one.isspace() and (one.isprintable() or ord(one) > 0x9F))


def test_a_control_id_is_the_end_of_the_deliverys_id():
    assert control_id_of("msg_01JDXW3K6ZQ8V5R2M7N4T9B1CD") == "3K6ZQ8V5R2M7N4T9B1CD"


def test_the_conformance_statement_tells_every_code_and_no_other():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "conformance-hl7.md").read_text()
    table = page[page.index("| code | OBX-2 |") :].split("\n\n")[0].splitlines()[2:]
    cells = [line.split("|") for line in table]
    assert {code for line in cells for code in re.findall(r"`([^`]+)`", line[1])} == set(OBSERVATIONS)
    told = {line[1].strip(" `"): set(re.findall(r"`([A-Z_]+)`", line[3])) for line in cells}
    assert told["TRIAGE"] == {code.code for code in TRIAGE.values()}
    assert told["OUTCOME"] == {code.code for code in OUTCOMES.values()}
