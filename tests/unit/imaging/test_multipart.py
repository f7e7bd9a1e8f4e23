from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.imaging.multipart import Malformed, TooLarge, boundary_of, parts

BODY = (
    b"--x y\r\nContent-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50\r\n"
    b"Content-Length: 3\r\nContent-Location: /frames/1\r\n\r\n\r\n-\r\n--x y \t\r\n\r\n\r\n--x y--\r\nepilogue"
)


def read(body: bytes, *, size: int = 1000, most: int = 1000) -> list:
    return list(parts(b"x y", (body[at : at + size] for at in range(0, len(body), size)), max_part=most))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_parts_are_read_however_the_answer_is_cut_into_pieces(size: int) -> None:
    first, second = read(BODY, size=size)
    assert (first.media_type, first.transfer_syntax) == ("application/octet-stream", "1.2.840.10008.1.2.4.50")
    assert (first.location, first.body) == ("/frames/1", b"\r\n-")
    assert (second.media_type, second.transfer_syntax, second.body) == ("", "", b"")


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(1, 400))
def test_whatever_is_in_the_parts_comes_out_of_them(bodies: list[bytes], size: int) -> None:
    boundary = b"boundary-3f1d"
    bodies = [body for body in bodies if boundary not in body]
    sent = b"".join(b"\r\n--" + boundary + b"\r\nA: b\r\n\r\n" + body for body in bodies)
    sent += b"\r\n--" + boundary + b"--"
    chunks = (sent[at : at + size] for at in range(0, len(sent), size))
    assert [part.body for part in parts(boundary, chunks, max_part=400)] == bodies


def test_what_stands_before_the_first_part_is_passed_over() -> None:
    assert len(read(b"This is a preamble.\r\n" + BODY)) == 2


def test_the_parts_before_a_break_are_there() -> None:
    coming = parts(b"x y", [BODY[: BODY.index(b"--x y--") - 1]], max_part=100)
    assert next(coming).body == b"\r\n-"
    with pytest.raises(Malformed):
        next(coming)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no part at all",
        BODY.replace(b"Content-Length: 3", b"Content-Length: 4"),
        BODY.replace(b"Content-Length: 3", b"Content Length"),
        BODY.replace(b"Content-Length: 3", b" Content-Length: 3"),
        BODY.replace(b"Content-Length: 3", b"Content-Length\xe9: 3"),
        BODY.replace(b"--x y \t\r\n", b"--x yz\r\n"),
        BODY.replace(b"\r\n--x y--", b""),
        b"--x y\r\n" + b"A: b\r\n" * 10_000 + b"\r\n\r\n--x y--",
    ],
)
def test_what_is_not_as_the_rfc_says_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read(body)


def test_a_part_that_is_too_large_is_not_collected() -> None:
    with pytest.raises(TooLarge):
        read(b"--x y\r\n\r\n" + b"x" * 200, size=10, most=100)
    assert len(read(b"--x y\r\n\r\n" + b"x" * 100 + b"\r\n--x y--", size=10, most=100)) == 1


@pytest.mark.parametrize(
    ("said", "boundary"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('Multipart/Related; type="application/octet-stream"; boundary="a b:c"', b"a b:c"),
    ],
)
def test_the_boundary_is_what_the_header_says(said: str, boundary: bytes) -> None:
    assert boundary_of(said) == boundary


@pytest.mark.parametrize(
    "said",
    [
        "",
        "multipart/related",
        "multipart/mixed; boundary=a",
        "application/json",
        f"multipart/related; boundary={'a' * 71}",
        "multipart/related; boundary=ä",
    ],
)
def test_any_other_answer_is_malformed(said: str) -> None:
    with pytest.raises(Malformed):
        boundary_of(said)
