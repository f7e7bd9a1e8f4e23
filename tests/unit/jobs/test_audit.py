"""A digest that anybody can compute, and heads as people copy them."""

import hashlib

import pytest

from worker.jobs.audit import COLUMNS, END_OF, START, Action, Head, digest_of
from worker.jobs.job import TERMINAL

ROW = (
    "audit_1", "2026-11-23 10:00:00.123000", "key:lab:key_1", "claimed", "job_1", None, None, None, None, 1, None,
    b"\x01\xff",
)  # fmt: skip


def test_a_digest_is_sha256_of_the_one_before_and_the_row_as_json():
    text = (
        '[1,"audit_1","2026-11-23 10:00:00.123000","key:lab:key_1","claimed","job_1",null,null,null,null,1,'
        'null,"01ff"]'
    )
    assert digest_of(START.digest, 1, ROW) == hashlib.sha256(bytes(32) + text.encode()).digest()


def test_every_column_and_what_went_before_it_counts():
    changed = [(*ROW[:i], "other", *ROW[i + 1 :]) for i in range(len(COLUMNS))]
    digests = {digest_of(START.digest, 1, row) for row in (ROW, *changed)}
    digests |= {digest_of(START.digest, 2, ROW), digest_of(b"x" * 32, 1, ROW)}
    assert len(digests) == len(COLUMNS) + 3


def test_what_no_program_of_ours_writes_has_a_digest_too():
    assert digest_of(START.digest, 1, [*ROW[:-1], object]) != digest_of(START.digest, 1, ROW)


def test_a_head_is_read_as_it_is_printed():
    head = Head(12, digest_of(START.digest, 1, ROW))
    assert Head.parse(f" {head}\n") == head


@pytest.mark.parametrize("text", ["", "12", "12:ab", f"x:{'0' * 64}", f"-1:{'0' * 64}", f"1:{'0' * 65}"])
def test_what_is_no_head_is_refused(text):
    with pytest.raises(ValueError, match="SEQ:DIGEST"):
        Head.parse(text)


def test_every_end_has_a_word():
    assert set(END_OF) == TERMINAL
    assert len(set(END_OF.values())) == len(TERMINAL)
    assert all(isinstance(word, Action) for word in END_OF.values())
