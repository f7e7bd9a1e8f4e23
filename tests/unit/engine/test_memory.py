"""How many rows a pool has, and how long they are."""

from __future__ import annotations

import pytest

from worker.engine.models.decoder import row_ladder, span_ladder
from worker.engine.models.memory import Wanted, sized, wanted
from worker.errors import ModelUnavailable

WANTED = Wanted(most=4096, least=1024)


def test_a_row_holds_the_longest_request_within_the_models_context():
    assert wanted(context=2048, max_pixels=12_544, max_new_tokens=2048) == Wanted(most=2048, least=2048)
    assert wanted(context=330, max_pixels=12_544, max_new_tokens=2048).most == 384, "aligned"
    patho_r1 = wanted(context=128_000, max_pixels=1_003_520, max_new_tokens=2048)
    assert patho_r1.most >= 2048 + 2048 + 8 * 1282
    assert patho_r1.most < 2048 + 2048 + 9 * 1282
    assert patho_r1.least >= 1280 + 2048
    few = wanted(context=128_000, max_pixels=1_003_520, max_new_tokens=2048, max_image_tokens=1024)
    assert few.most >= few.least
    assert few.most <= patho_r1.most - 8900, "one image of max_pixels fits always"


@pytest.mark.parametrize(
    ("free", "size"),
    [
        (1_000_000, (32, 4096)),  # plenty
        (32 * 2000, (32, 1984)),  # shorter rows before fewer
        (32 * 1024, (32, 1024)),
        (20 * 1024, (20, 1024)),  # fewer rows, each long enough for a case
        (1024, (1, 1024)),
    ],
)
def test_where_memory_is_short_rows_become_shorter_and_then_fewer(free, size):
    assert sized(rows=32, positions=WANTED, free_positions=free) == size


def test_a_device_without_room_for_one_case_is_refused():
    with pytest.raises(ModelUnavailable, match="memory"):
        sized(rows=4, positions=WANTED, free_positions=1023)


@pytest.mark.parametrize("rows", [1, 3, 4, 32, 100, 256])
def test_row_buckets_reach_all_rows_and_are_few(rows):
    ladder = row_ladder(rows)
    assert list(ladder) == sorted(set(ladder))
    assert ladder[-1] == rows
    assert len(ladder) <= 14


@pytest.mark.parametrize("positions", [64, 384, 2048, 14_400])
def test_span_buckets_reach_all_positions_and_coarse_ones_are_few_and_aligned(positions):
    for coarse in (False, True):
        ladder = span_ladder(positions, coarse=coarse)
        assert list(ladder) == sorted(set(ladder))
        assert ladder[-1] == positions
    assert len(ladder) <= 16
    assert all(span % 64 == 0 for span in ladder)
