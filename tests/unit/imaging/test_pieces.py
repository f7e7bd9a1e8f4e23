from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import FetchFailed, ImageTooLarge
from worker.imaging import pieces
from worker.imaging.pieces import Blocks

FILE = bytes(range(251)) * 3


class Asked(list):
    def get(self, offset: int, length: int) -> bytes:
        self.append((offset, length))
        return FILE[offset : offset + length]


@given(st.lists(st.tuples(st.integers(0, 800), st.integers(0, 800)), max_size=8), st.integers(1, 100))
def test_whatever_is_read_in_whatever_order_is_what_the_file_has(reads, block) -> None:
    file = Blocks(Asked().get, len(FILE), max_bytes=10**9, block=block)
    for offset, length in reads:
        assert file.read(offset, length) == FILE[offset : offset + length]


def test_blocks_that_are_here_are_not_asked_for_again_and_neighbours_come_together() -> None:
    asked = Asked()
    file = Blocks(asked.get, len(FILE), max_bytes=10**9, block=100)
    file.read(250, 10)
    file.read(150, 400)
    assert asked == [(200, 100), (100, 100), (300, 300)]


def test_only_so_many_blocks_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BLOCKS_KEPT", 2)
    asked = Asked()
    file = Blocks(asked.get, len(FILE), max_bytes=10**9, block=100)
    for offset in (0, 100, 200, 200, 0):
        file.read(offset, 1)
    assert asked == [(0, 100), (100, 100), (200, 100), (0, 100)]


def test_a_slide_that_would_be_fetched_whole_is_refused() -> None:
    asked = Asked()
    file = Blocks(asked.get, len(FILE), max_bytes=250, block=100)
    file.read(0, 200)
    with pytest.raises(ImageTooLarge):
        file.read(300, 1)
    assert asked == [(0, 200)]


def test_a_reader_cannot_ask_for_everything_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_AT_ONCE", 500)
    with pytest.raises(ImageTooLarge):
        Blocks(Asked().get, len(FILE), max_bytes=10**9).read(0, 10**12)


def test_a_piece_of_another_length_is_no_piece() -> None:
    with pytest.raises(FetchFailed):
        Blocks(lambda _, length: b"x" * (length - 1), 100, max_bytes=1000).read(0, 10)
