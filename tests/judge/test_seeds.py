"""A seed says what its run was for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoresearchd.judge.seeds import is_planned, next_seed, repeats_in, selected_by, without_luck


def test_what_a_tree_was_kept_for_is_its_first_run_and_its_lowest_block() -> None:
    assert selected_by({0, 10_000, 10_001, 20_000, 20_001}) == {0, 10_000, 10_001}
    assert selected_by({0, 20_000, 30_000}) == {0, 20_000}
    assert selected_by({0}) == {0}


def test_comparisons_go_one_block_above_the_one_that_best_was_kept_in() -> None:
    assert repeats_in({0, 1, 2}, planned=True) == 1
    assert repeats_in({0, 1, 2, 10_000, 10_005}, planned=True) == 1
    assert repeats_in({0, 10_000, 10_001}, planned=False) == 2
    assert repeats_in({0, 10_000, 20_000, 20_001}, planned=False) == 2


def test_a_baseline_has_no_lucky_first_run() -> None:
    assert is_planned({0, 1, 2})
    assert without_luck({0: 1.0, 1: 2.0, 2: 3.0}) == {0: 1.0, 1: 2.0, 2: 3.0}
    assert without_luck({0: 1.0, 10_000: 2.0}) == {10_000: 2.0}


@given(st.sets(st.integers(0, 50_000)), st.integers(0, 5))
def test_the_next_seed_was_never_used(seeds: set[int], block: int) -> None:
    assert next_seed(seeds, block=block) not in seeds
    assert next_seed(seeds, block=block) >= block * 10_000
