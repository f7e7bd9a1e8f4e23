"""Bytes become text by MSH-18, strictly."""

import pytest

from integrations.hl7.charset import CHARSETS, codec_of, decode
from integrations.hl7.message import parse
from tests.unit.hl7.messages import message
from worker.errors import CharacterSetUnsupported, CharactersInvalid


@pytest.mark.parametrize(
    ("charset", "encoding", "text"),
    [
        ("UNICODE UTF-8", "utf-8", "MÜLLER Ωж"),
        ("8859/1", "iso8859-1", "MÜLLER"),
        ("8859/2", "iso8859-2", "ŁÓDŹ"),
        ("8859/5", "iso8859-5", "ЖУК"),
        ("8859/7", "iso8859-7", "Ωμέγα"),
        ("8859/9", "iso8859-9", "ŞEKER"),
        ("8859/15", "iso8859-15", "ŒUVRE €"),
        ("ASCII", "ascii", "MULLER"),
        # not of the table, and sent all the same
        ("utf-8", "utf-8", "MÜLLER"),
    ],
)
def test_a_character_set_of_the_table_is_read(charset, encoding, text):
    raw = message(f"PID|||1||{text}", charset=charset, encoding=encoding)
    assert parse(raw).get("PID", 5) == text


def test_a_message_that_names_no_set_is_read_by_the_senders_own():
    raw = message("PID|||1||MÜLLER", charset="", encoding="iso8859-1")
    assert parse(raw, charset="8859/1").get("PID", 5) == "MÜLLER"
    with pytest.raises(CharactersInvalid):
        parse(raw)


def test_the_set_the_message_names_stands_before_the_senders_own():
    assert parse(message("PID|||1||Ü"), charset="8859/1").get("PID", 5) == "Ü"


def test_the_first_repetition_of_msh_18_counts():
    raw = message("PID|||1||Ü", charset="8859/1~ISO IR87", encoding="iso8859-1")
    assert parse(raw).get("PID", 5) == "Ü"


@pytest.mark.parametrize(
    "charset", ["UNICODE UTF-16", "UNICODE UTF-32", "ISO IR87", "ISO IR14", "GB 18030-2000", "Klingon"]
)
def test_other_sets_are_refused_and_not_quoted(charset):
    with pytest.raises(CharacterSetUnsupported) as refused:
        parse(message(charset=charset))
    assert charset not in refused.value.public
    assert refused.value.where == "MSH-18"


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n"])
def test_bytes_that_are_not_of_the_set_are_named_by_their_place_and_never_quoted(before):
    raw = before + message("PID|||1||DOE^JANE\xff", charset="UNICODE UTF-8", encoding="latin-1")
    with pytest.raises(CharactersInvalid) as refused:
        parse(raw)
    assert f"offset {raw.index(0xFF)} " in refused.value.public
    error = refused.value
    assert "JANE" not in repr(error) + str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_byte_order_mark_says_utf_8_where_the_message_says_nothing():
    raw = b"\xef\xbb\xbf" + message("PID|||1||Ü", charset="")
    assert parse(raw).get("PID", 5) == "Ü"


def test_every_set_has_a_codec():
    assert {codec_of(name.lower()) for name in CHARSETS}
    assert decode(b"MSH|^~\\&|A") == ("MSH|^~\\&|A", "ascii")
