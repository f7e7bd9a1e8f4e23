"""The short form of `python -m tests.fuzz_images`."""

from __future__ import annotations

from tests.fuzz_images import case, fuzz, originals, quiet

COUNT = 400


def test_damaged_files_are_read_or_refused_and_the_child_stays_within_its_limits() -> None:
    outcome = fuzz(COUNT, seed=1)
    assert outcome.wrong == []
    assert sum(counts.total() for counts in outcome.by_kind.values()) == COUNT
    together = {code for counts in outcome.by_kind.values() for code in counts}
    assert {"read", "image_unreadable", "image_too_large"} <= together, "the damage reaches deep and shallow"


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    whole = originals()
    with quiet():
        assert [case(n, 5, whole) for n in range(40)] == [case(n, 5, originals()) for n in range(40)]
