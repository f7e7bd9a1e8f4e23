"""Bytes become segments, fields, repetitions, components and subcomponents."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from integrations.hl7.delimiters import Delimiters
from integrations.hl7.message import MOST_SEGMENTS, parse, parse_text
from integrations.hl7.writing import escaped, segment
from integrations.hl7.writing import message as written
from tests.unit.hl7.messages import message
from worker.errors import MessageTooLarge, MessageUnreadable

HEAD = "MSH|^~\\&|A|B"


def test_a_value_is_asked_for_by_segment_field_component_and_subcomponent():
    read = parse(message())
    assert read.kind == "OML^O21"
    assert read.get("MSH", 10) == "MSG00001"
    assert read.get("PID", 5) == "MÜLLER"
    assert read.get("PID", 5, 2) == "ZOË"
    assert read.get("PID", 3, 4, 2) == "1.2.3"
    assert read.first("PID").field(3).repetition(0).component(4).subcomponents == ("HIS", "1.2.3", "ISO")
    assert [one.get(5) for one in read.all("OBX")] == ["1.2.3.4.5", "1.2.3.4.6"]


def test_segments_keep_their_order_so_that_groups_can_be_walked():
    names = [one.name for one in parse(message()).segments]
    assert names == ["MSH", "PID", "ORC", "TQ1", "OBR", "SPM", "OBX", "OBX"]


def test_what_is_not_there_is_empty():
    read = parse(message())
    assert (
        read.get("ZZZ", 3) == read.get("PID", 99) == read.get("PID", 3, 9) == read.get("PID", 3, 4, 9) == ""
    )
    assert read.first("PID").field(3).repetition(7).component(-1).subcomponent(0) == ""


def test_msh_1_and_msh_2_are_the_delimiters_themselves():
    read = parse(message())
    assert (read.get("MSH", 1), read.get("MSH", 2), read.get("MSH", 3)) == ("|", "^~\\&", "IMA")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segments_end_with_cr_lf_or_both(end):
    text = end.join([HEAD, "PID|1||7", "", "OBX|1|ST|A||B", ""])
    assert [one.fields for one in parse_text(text).segments] == [
        ("MSH", "|", "^~\\&", "A", "B"),
        ("PID", "1", "", "7"),
        ("OBX", "1", "ST", "A", "", "B"),
    ]


def test_a_line_that_starts_no_segment_goes_on_with_the_field_before():
    text = f"{HEAD}\rOBX|1|TX|A||first line\rsecond line\nand a third||||||F\rOBX|2|TX|B||other"
    first, second = parse_text(text).all("OBX")
    assert first.get(5) == "first line\nsecond line\nand a third"
    assert first.get(11) == "F"
    assert second.get(5) == "other"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (r"MSH|^~\&|X", Delimiters(codec="utf-8")),
        # truncation, from v2.7 on
        (r"MSH|^~\&#|X", Delimiters(truncation="#", codec="utf-8")),
        # short: the rest divides nothing
        (r"MSH|^~|X", Delimiters(escape="", subcomponent="", codec="utf-8")),
        (r"MSH|^|X", Delimiters(repetition="", escape="", subcomponent="", codec="utf-8")),
        # missing: the usual ones
        (r"MSH||X", Delimiters(codec="utf-8")),
        (r"MSH|", Delimiters(codec="utf-8")),
        (r"MSH^~|\&^X", Delimiters("^", "~", "|", "\\", "&", codec="utf-8")),
    ],
)
def test_delimiters_are_those_the_message_declares(head, expected):
    assert parse_text(head).delimiters == expected


def test_unusual_delimiters_divide():
    read = parse_text("MSH#*!?@#App@Sub*Two#F\rPID###1*a@b!2#x?F?y")
    assert read.get("MSH", 3, 1, 2) == "Sub"
    assert read.get("PID", 3, 2, 2) == "b"
    assert read.first("PID").field(3).repetition(1).get() == "2"
    assert read.get("PID", 4) == "x#y"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PID|1",
        "MSH",
        "MSH\r",
        # a letter, the same sign twice, six signs, no sign of ASCII
        "MSHa^~\\&",
        "MSH|^^\\&|",
        "MSH|^~\\&#$|",
        "MSH|\x01~\\&|",
        "MSH|^~\\é|",
        # two messages in one frame: one acknowledgement would lose the other
        f"{HEAD}\rPID|1\r{HEAD}\rPID|2",
    ],
)
def test_what_is_no_message_is_refused(text):
    with pytest.raises(MessageUnreadable):
        parse_text(text)


def test_utf_16_is_no_message_rather_than_a_wrong_character():
    with pytest.raises(MessageUnreadable):
        parse(message().decode().encode("utf-16"))


def test_a_message_of_very_many_segments_is_refused():
    with pytest.raises(MessageTooLarge):
        parse_text(HEAD + "\rNTE|" * (MOST_SEGMENTS + 1))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"\X4D\\X617A\ ", "Maz "),
        (r"\XC3BC\ ", "ü "),
        (r"one\.br\two\.BR\ ", "one\ntwo\\.BR\\ "),
        (r"\H\bold\N\ ", "bold "),
        # not ours to say what they mean: left as they are
        (r"\Zlocal\F\ ", r"\Zlocal\F\ "),
        (
            r"\.sp2\ \.in+4\ \C2842\ \M1A2B3C\ \Q\ \X4\ \XFF\ ",
            r"\.sp2\ \.in+4\ \C2842\ \M1A2B3C\ \Q\ \X4\ \XFF\ ",
        ),
        (r"C:\temp\F\x", r"C:\temp|x"),
        ("ends with \\", "ends with \\"),
        (r"\E\F\E\ ", r"\F\ "),
    ],
)
def test_escapes_become_the_text_they_stand_for(raw, text):
    assert parse_text(f"{HEAD}\rNTE|1||{raw}").get("NTE", 3) == text


def test_hexadecimal_escapes_are_bytes_of_the_messages_own_character_set():
    raw = message("NTE|1||\\XFC\\", charset="8859/1")
    assert parse(raw).get("NTE", 3) == "ü"


def test_a_sender_without_an_escape_sign_has_no_escapes():
    assert parse_text("MSH|^~|A\rNTE|1||a\\F\\b").get("NTE", 3) == "a\\F\\b"


def test_a_byte_order_mark_and_blank_lines_before_the_head_are_passed_over():
    assert parse(b"\xef\xbb\xbf" + message()).get("MSH", 10) == "MSG00001"
    assert parse(b"\r\n\n" + message()).get("MSH", 10) == "MSG00001"


def test_the_trigger_is_taken_from_the_structure_where_it_is_not_given():
    assert parse_text("MSH|^~\\&|||||||ORM^^ORM_O01").kind == "ORM^O01"
    assert parse_text("MSH|^~\\&|||||||ACK").kind == "ACK^"


def test_nothing_of_a_message_is_in_its_repr():
    read = parse(message())
    shown = repr(read) + repr(read.segments[1]) + repr(read.segments[1].field(5)) + repr(read.segments)
    assert "ZOË" not in shown
    assert "S26" not in shown


def lines_made_one(text):
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")


texts = some.text(
    alphabet=some.one_of(
        some.characters(exclude_categories=["Cs"]), some.sampled_from("|^~\\&\r\n\x0b\x1cHNXFE.br")
    )
)


@given(texts)
def test_any_text_that_is_written_is_read_again(text):
    body = written(
        [segment("MSH", {3: "A"}), segment("NTE", {3: ("a", (text, "b"), text), 4: [text, "end"]})]
    )
    read = parse_text(body)
    assert [one.name for one in read.segments] == ["MSH", "NTE"]
    expected = lines_made_one(text)
    assert read.get("NTE", 3, 2) == read.get("NTE", 3, 3) == read.get("NTE", 4) == expected
    assert read.first("NTE").field(4).repetition(1).get() == "end"


@given(texts)
def test_no_text_can_end_a_field_a_segment_or_a_frame(text):
    assert not set(escaped(text)) & set("|^~&\r\n\x0b\x1c\x00")


def test_a_name_that_is_no_segments_is_not_written():
    with pytest.raises(ValueError, match="segment"):
        segment("PID|1\rOBX", {})


@given(some.binary(max_size=200))
def test_any_bytes_at_all_are_read_or_refused(tail):
    for start in (b"", b"MSH", b"MSH|^~\\&|A|B|"):
        with suppress(MessageUnreadable, MessageTooLarge):
            parse(start + tail, charset="8859/1")
