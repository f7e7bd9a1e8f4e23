"""The bytes of a connection become messages, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from integrations.hl7.frames import Decoder, frame
from worker.errors import MessageTooLarge

ONE, TWO = b"MSH|^~\\&|one\r", b"MSH|^~\\&|two\r"


def test_a_message_that_comes_byte_by_byte_is_one_message():
    decoder = Decoder(most_bytes=100)
    found = [one for byte in frame(ONE) for one in decoder.feed(bytes([byte]))]
    assert found == [ONE]
    assert not decoder.is_inside


def test_several_messages_in_one_packet_are_several_messages():
    assert Decoder(most_bytes=100).feed(frame(ONE) + frame(TWO) + frame(ONE)) == [ONE, TWO, ONE]


def test_what_stands_between_frames_is_skipped_and_counted():
    decoder = Decoder(most_bytes=100)
    assert decoder.feed(b"junk" + frame(ONE) + b"\r\n" + b"more" + frame(TWO) + b"end") == [ONE, TWO]
    assert decoder.junk == len(b"junk" + b"more" + b"end")
    assert not decoder.is_inside


def test_a_file_separator_inside_a_message_does_not_end_it():
    assert Decoder(most_bytes=100).feed(frame(b"MSH|a\x1cb\x1c")) == [b"MSH|a\x1cb\x1c"]


def test_a_start_sign_inside_text_is_text():
    assert Decoder(most_bytes=100).feed(frame(b"MSH|soft\x0bline")) == [b"MSH|soft\x0bline"]


def test_a_sender_that_broke_off_and_began_again_is_not_read_as_one_message():
    decoder = Decoder(most_bytes=100)
    assert decoder.feed(b"\x0bMSH|half" + frame(ONE)) == [ONE]
    assert decoder.junk == len(b"MSH|half")


def test_a_message_that_is_too_large_is_told_before_it_has_ended():
    decoder = Decoder(most_bytes=10)
    assert decoder.feed(frame(b"small") + b"\x0bMSH|^~\\&|much too long") == [b"small"]
    with pytest.raises(MessageTooLarge):
        decoder.check()
    assert decoder.begun == b"MSH|^~\\&|m"


def test_a_message_that_is_too_large_and_has_ended_is_told_too():
    decoder = Decoder(most_bytes=10)
    assert decoder.feed(frame(b"0123456789") + frame(b"0123456789A") + frame(b"small")) == [b"0123456789"]
    with pytest.raises(MessageTooLarge):
        decoder.check()
    assert decoder.feed(frame(b"small")) == []


messages = some.lists(
    some.binary(max_size=40).map(lambda one: one.replace(b"\x1c", b"").replace(b"\x0b", b"")), max_size=6
)


@given(messages, some.lists(some.integers(1, 30), max_size=60), some.binary(max_size=5))
def test_frames_are_the_same_however_they_are_cut(wanted, cuts, junk):
    junk = junk.replace(b"\x0b", b"")
    stream = b"".join(junk + frame(one) for one in wanted) + junk
    decoder, found, at = Decoder(most_bytes=100), [], 0
    for cut in [*cuts, len(stream)]:
        found += decoder.feed(stream[at : at + cut])
        at += cut
    assert found == wanted
    decoder.check()
    assert decoder.junk == (len(wanted) + 1) * len(junk.replace(b"\r", b"").replace(b"\n", b""))


@given(some.lists(some.binary(max_size=50), max_size=20))
def test_any_bytes_at_all_are_survived(pieces):
    decoder = Decoder(most_bytes=64)
    for piece in pieces:
        assert all(len(one) <= 64 for one in decoder.feed(piece))
        assert len(decoder.begun) <= 64
