"""The simulator against the one case that mathematics solves, and our judge in a few short nights."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

import pytest

from bench.judge import LOG, NIGHT, NOISES, NULL, naive, ours, replayed, simulate, three_seeds


def test_the_naive_rule_keeps_what_the_theory_of_records_says() -> None:
    """Each of 101 equal runs is a record with chance 1/n: 1/2 + 1/3 + ... + 1/101 = 4.2 false keeps (Rényi 1962)."""
    harmonic = sum(1 / n for n in range(2, 102))
    kept = [len(simulate(naive, kind="gaussian", seed=seed, mix=NULL, tried=100).kept) for seed in range(400)]
    assert fmean(kept) == pytest.approx(harmonic, abs=0.3)


def test_three_seeds_cost_three_times_as_much_and_keep_as_many_nothings() -> None:
    nights = [simulate(three_seeds, kind="gaussian", seed=seed, mix=NULL, tried=100) for seed in range(100)]
    assert fmean(len(night.kept) for night in nights) == pytest.approx(4.2, abs=0.7)
    assert all(night.trainings == 303 for night in nights)


@pytest.mark.parametrize("kind", NOISES)
def test_ours_keeps_at_most_one_nothing_of_a_hundred(kind: str) -> None:
    nights = [simulate(ours, kind=kind, seed=seed, mix=NULL, tried=100) for seed in range(30)]
    # Thirty nights tell a mean only to within its own chance: two standard deviations of so many rare events.
    assert sum(len(night.kept) for night in nights) <= 30 + 2 * math.sqrt(30)
    assert fmean(night.trainings for night in nights) <= 185


def test_ours_finds_large_gains_and_keeps_no_large_harm() -> None:
    nights = [simulate(ours, kind="gaussian", seed=seed, mix=NIGHT, tried=100) for seed in range(12)]
    large = [effect for night in nights for effect in night.offered if effect >= 3]
    assert sum(night.kept.count(3.0) for night in nights) >= 0.8 * len(large)
    assert not [effect for night in nights for effect in night.kept if effect <= -1]


def test_a_night_can_be_played_again() -> None:
    first, again = (simulate(ours, kind="drift", seed=3, mix=NIGHT, trainings=80, pool=30) for _ in range(2))
    assert first == again
    assert first.trainings >= 80


def test_of_the_published_night_four_keeps_stand() -> None:
    text = replayed(Path(LOG).read_text("utf-8"))
    assert "124 changes that gave a number, 22 kept" in text
    assert "8 keeps gained more than a change of the seed" in text
    assert "4 stand at 95%" in text
